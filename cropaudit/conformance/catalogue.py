"""The checks, by number: one module and one line each."""

from cropaudit.conformance.check import Check
from cropaudit.conformance.checks import accountant, contract
from cropaudit.conformance.checks.batches import batch_law, inclusion_rate, steps_and_rate
from cropaudit.conformance.checks.models import isolation, per_sample_gradients
from cropaudit.conformance.checks.steps import clipping, finite_updates, kept_state, noise, update
from cropaudit.conformance.checks.windows import (
    independence,
    label_alignment,
    non_interference,
    window_law,
)

__all__ = ["CHECKS", "Check", "check_named"]

CHECKS = (
    contract.check,
    non_interference.check,
    window_law.check,
    independence.check,
    inclusion_rate.check,
    label_alignment.check,
    batch_law.check,
    per_sample_gradients.check,
    isolation.check,
    clipping.check,
    noise.check,
    steps_and_rate.check,
    update.check,
    finite_updates.check,
    kept_state.check,
    accountant.check,
)


def check_named(name: str) -> Check:
    """Returns the check of this name.

    >>> check_named("isolation").needs
    ('model', 'pipeline')
    """
    return next(item for item in CHECKS if item.name == name)
