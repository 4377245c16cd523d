"""Sound crops under wrong claims: what runs is right, and what the accountant was asked is not.

All claims are of 1000 Poisson batches of 32 out of 256 images of 360x480, windows of 100x100, a
patch of 20x20, noise multiplier 1 and delta 1e-5, where epsilon is 5.79.
"""

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.faults.fault import Fault
from cropaudit.audit.conformance.faults.transforms import IMAGE, PATCH, WINDOW
from cropaudit.audit.conformance.subjects import Subjects

__all__ = ["CLEAN", "FAULTS", "claim_of"]


def claim_of(epsilon: float | None) -> Claimed:
    """Returns the claim with some epsilon; with the accountant's own if none is given."""
    return Claimed(
        image=IMAGE,
        patch=PATCH,
        crop=WINDOW,
        batch=32,
        records=256,
        steps=1000,
        noise_multiplier=1.0,
        epsilon=epsilon,
    )


def _fault(name: str, summary: str, check: str, epsilon: float | None) -> Fault:
    crop = "cropaudit.audit.conformance.faults.transforms:cropped_and_flipped"
    return Fault(name, summary, check, Subjects(transform=crop), claim_of(epsilon))


FAULTS = (
    _fault(
        "add-remove-accountant",
        "the rate q rho was put into an accountant of adding and removing records",
        "accountant",
        3.43,
    ),
    _fault(
        "replace-one-accountant",
        "the rate q rho was put into an accountant of replacing records",
        "accountant",
        5.4573,
    ),
    _fault(
        "sensitivity-c",
        "a changed patch is said to move the sum by C, and not by 2 C",
        "accountant",
        2.3727,
    ),
)
CLEAN = (_fault("clean-claim", "the accountant's own epsilon", "", None),)
