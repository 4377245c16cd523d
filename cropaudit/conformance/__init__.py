"""Conformance: does this pipeline do what the theorem assumes?

The amplified bound holds if a crop that misses the patch gives the same training signal in both
worlds, and if windows, batches, clipping and noise follow their stated laws. Each assumption is a
check on the user's own code, which runs in a process of its own (`worker`, `probes`) and leaves
plain arrays (`observe`); the checks (`checks`) are functions of these, and share one level.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cropaudit.conformance.asserting import assert_conforms

__all__ = ["assert_conforms"]


def __getattr__(name: str) -> Any:
    """Imports what is asked for: the process of the user's code needs none of the checks."""
    if name == "assert_conforms":
        from cropaudit.conformance import asserting

        return asserting.assert_conforms
    raise AttributeError(name)
