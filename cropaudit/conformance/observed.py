"""All that the probes brought: each part is there if its subject was given and could be run."""

from dataclasses import dataclass

from cropaudit.conformance.observations.batches import Batches
from cropaudit.conformance.observations.contract import Contract
from cropaudit.conformance.observations.draws import Draws
from cropaudit.conformance.observations.gradients import Gradients
from cropaudit.conformance.observations.replays import Pairs
from cropaudit.conformance.observations.training import Replayed, Training
from cropaudit.conformance.observations.updates import Updates

__all__ = ["SUBJECTS", "Observations"]

_NOTHING = Contract()
# Whose code an observation is of.
SUBJECTS = {
    "contract": ("transform", "loader", "model", "trainer", "pipeline"),
    "windows": ("transform", "loader"),
    "draws": ("transform",),
    "pairs": ("transform",),
    "loader_draws": ("loader",),
    "batches": ("loader",),
    "gradients": ("model",),
    "updates": ("trainer",),
    "training": ("pipeline",),
    "replayed": ("pipeline",),
    "trained_batches": ("pipeline",),
    "trained_draws": ("pipeline",),
    "everything": ("claim",),
}


@dataclass(frozen=True, eq=False)
class Observations:
    """Observations.

    Attributes:
        contract: How the user's code behaved.
        draws: Windows of consecutive calls of the transform.
        pairs: Its replays.
        near_draws: Windows on images hardly larger than they are.
        loader_draws: Windows of the loader's items.
        batches: Batches of the loader.
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
    def everything(self) -> "Observations":
        """All of it, for a check of how the parts fit together."""
        return self

    def near(self, draws: Draws) -> Draws | None:
        """Returns the windows on small images of the same code, if there are any."""
        return self.near_draws if draws is self.windows else None
