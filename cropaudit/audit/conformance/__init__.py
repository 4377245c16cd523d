"""Conformance: does this pipeline do what the theorem assumes?

The amplified bound holds if a crop that misses the patch gives the same training signal in both
worlds, and if windows, batches, clipping and noise follow their stated laws. Each assumption is a
check on the user's own code, which runs in a process of its own (`worker`, `probes`) and leaves
plain arrays (`observe`); the checks (`checks`) are functions of these, and share one level.
"""

from cropaudit.audit.conformance.asserting import assert_conforms

__all__ = ["assert_conforms"]
