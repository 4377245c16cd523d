"""All that the probes brought: each part is there if its subject was given and could be run."""

from dataclasses import dataclass

from cropaudit.audit.conformance.observe.batches import Batches
from cropaudit.audit.conformance.observe.contract import Contract
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.observe.gradients import Gradients
from cropaudit.audit.conformance.observe.pairs import Pairs
from cropaudit.audit.conformance.observe.updates import Updates

__all__ = ["Seen"]

_NOTHING = Contract()


@dataclass(frozen=True, eq=False)
class Seen:
    """Observations.

    Attributes:
        contract: How the user's code behaved.
        draws: Windows of consecutive calls of the transform.
        pairs: Its replays.
        near_draws: Windows on images hardly larger than they are.
        loader_draws: Windows of the loader's items.
        batches: Batches of the loader or of the whole pipeline.
        gradients: Of the model.
        updates: Of the trainer's step.
    """

    contract: Contract = _NOTHING
    draws: Draws | None = None
    pairs: Pairs | None = None
    near_draws: Draws | None = None
    loader_draws: Draws | None = None
    batches: Batches | None = None
    gradients: Gradients | None = None
    updates: Updates | None = None

    @property
    def windows(self) -> Draws | None:
        """Windows of the transform, or of the loader where no transform was probed."""
        return self.draws if self.draws is not None else self.loader_draws
