"""Mechanisms as events of dp_accounting, and back, where one says the same.

An event exists only without crops: none of dp_accounting's has a crop that may miss the patch while
the image is still used, and the nearest ones understate epsilon.
"""

import dp_accounting
from dp_accounting import NeighboringRelation

from cropaudit.accounting.mechanisms import (
    AddRemoveRecord,
    CyclicPatch,
    FullBatchPatch,
    Mechanism,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.errors import InputError, require

__all__ = ["from_event", "to_event"]


def to_event(mechanism: Mechanism) -> tuple[dp_accounting.DpEvent, NeighboringRelation]:
    """Returns the event and the neighbouring relation that dp_accounting must be given.

    Raises:
        InputError: If dp_accounting has no event that says the same.
    """
    gaussian = dp_accounting.GaussianDpEvent(mechanism.noise_multiplier)
    step = dp_accounting.PoissonSampledDpEvent(mechanism.sample_rate, gaussian)
    match mechanism:
        case AddRemoveRecord():
            return _repeated(step, mechanism), NeighboringRelation.ADD_OR_REMOVE_ONE
        case PoissonPatch(inclusion=1, crops=1):
            return _repeated(step, mechanism), NeighboringRelation.REPLACE_ONE
        case ShufflePatch(inclusion=1, crops=1) | CyclicPatch(inclusion=1, crops=1):
            return _repeated(gaussian, mechanism), NeighboringRelation.REPLACE_ONE
        case FullBatchPatch(inclusion=1, crops=1):
            return _repeated(gaussian, mechanism), NeighboringRelation.REPLACE_ONE
    raise InputError(
        "mechanism must be without crops, of one crop an image, and not of fixed-size batches to "
        f"be a DpEvent, got {mechanism}"
    )


def from_event(
    event: dp_accounting.DpEvent, relation: NeighboringRelation
) -> tuple[Mechanism, ...]:
    """Returns the phases that an event stands for, in which every window meets the patch.

    Args:
        event: Gaussian or Poisson-sampled Gaussian events, repeated and composed.
        relation: Add or remove one, or replace one.

    Raises:
        InputError: If it holds another event or another relation.
    """
    match event:
        case dp_accounting.ComposedDpEvent():
            return tuple(found for part in event.events for found in from_event(part, relation))
        case dp_accounting.SelfComposedDpEvent():
            inner = from_event(event.event, relation)
            require(len(inner) == 1, "DpEvent", "a single event repeated", event)
            count = event.count * inner[0].steps
            return (inner[0].with_steps(count),)
        case dp_accounting.PoissonSampledDpEvent() if isinstance(
            event.event, dp_accounting.GaussianDpEvent
        ):
            noise = float(event.event.noise_multiplier)
            return (_of_step(noise, float(event.sampling_probability), relation),)
        case dp_accounting.GaussianDpEvent():
            return (_of_step(float(event.noise_multiplier), 1.0, relation),)
    raise InputError(f"DpEvent must be of (Poisson-sampled) Gaussian events, got {event}")


def _of_step(noise: float, rate: float, relation: NeighboringRelation) -> Mechanism:
    if relation == NeighboringRelation.ADD_OR_REMOVE_ONE:
        return AddRemoveRecord(noise, rate, 1.0, 1)
    require(
        relation == NeighboringRelation.REPLACE_ONE,
        "relation",
        "ADD_OR_REMOVE_ONE or REPLACE_ONE",
        relation,
    )
    return PoissonPatch(noise, rate, 1.0, 1)


def _repeated(event: dp_accounting.DpEvent, mechanism: Mechanism) -> dp_accounting.DpEvent:
    return dp_accounting.SelfComposedDpEvent(event, mechanism.compositions)
