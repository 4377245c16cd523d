"""All that the probes brought: each part is there if its subject was given and could be run."""

from dataclasses import dataclass, fields, replace

from cropaudit.audit.conformance.observe.batches import Batches
from cropaudit.audit.conformance.observe.contract import Contract
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.observe.gradients import Gradients
from cropaudit.audit.conformance.observe.pairs import Pairs
from cropaudit.audit.conformance.observe.training import Replayed, Training
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
        training: Steps of the whole pipeline.
        replayed: The same pipeline with other contents.
        trained_batches: Batches of the whole pipeline.
        trained_draws: Windows of what its model was shown.
    """

    contract: Contract = _NOTHING
    draws: Draws | None = None
    pairs: Pairs | None = None
    near_draws: Draws | None = None
    loader_draws: Draws | None = None
    batches: Batches | None = None
    gradients: Gradients | None = None
    updates: Updates | None = None
    training: Training | None = None
    replayed: Replayed | None = None
    trained_batches: Batches | None = None
    trained_draws: Draws | None = None

    @property
    def windows(self) -> Draws | None:
        """Windows of the transform, or of the loader where no transform was probed."""
        return self.draws if self.draws is not None else self.loader_draws

    @property
    def parts(self) -> "Seen | None":
        """What was seen of parts: all but the whole pipeline; none if only that was given."""
        rest = replace(self, training=None, replayed=None, trained_batches=None, trained_draws=None)
        names = (item.name for item in fields(rest) if item.name != "contract")
        return rest if any(getattr(rest, name) is not None for name in names) else None

    @property
    def whole(self) -> "Seen | None":
        """What was seen of the whole pipeline, its windows and batches in their places."""
        if self.trained_batches is None:
            return None
        return Seen(
            contract=self.contract,
            batches=self.trained_batches,
            loader_draws=self.trained_draws,
            training=self.training,
            replayed=self.replayed,
        )
