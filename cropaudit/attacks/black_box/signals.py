"""What a black-box adversary reads off a model: losses and confidences on the pixels of a patch.

Every slot is shown in its record, other slots empty, through the same windows for every model, with
the pixels of either world; the answer is read under the labels of either world. All numbers are
means over those pixels of the patch that the window shows and that bear a label.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cropaudit.errors import require
from cropaudit.training.canaries import CanarySlot
from cropaudit.training.data import SegmentationData

__all__ = ["Decoys", "Signals"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Decoys:
    """Contents of the slots' own law that were in no world: known nonmembers.

    Attributes:
        empty: Their records, slots empty; not trained on.
        slots: Their slots, of the design of the true ones, drawn with another seed.
    """

    empty: SegmentationData
    slots: Sequence[CanarySlot]


@dataclass(frozen=True, eq=False)
class Signals:
    """Answers of M models on S slots through W windows.

    Attributes:
        losses: Mean cross-entropy, nats, shape (M, S, W, 2, 2): pixels of world A or B, then
            labels of world A or B.
        confidences: Mean of log p / (1 - p) of the label, same shape.
        features: What the content itself shows, shape (S, F); the same for all models.
        maps: None, or losses by place, averaged over windows, shape (M, S, 2, 2, g, g).
        decoys: The same models' answers on contents that were in no world, or None.
    """

    losses: Array
    confidences: Array
    features: Array
    maps: Array | None = None
    decoys: "Signals | None" = None

    def __len__(self) -> int:
        return len(self.losses)

    @property
    def slots(self) -> int:
        """S."""
        return int(self.losses.shape[1])

    def gap(self) -> Array:
        """Returns the loss of world B's content less that of A's, shape (M, S, W)."""
        return np.asarray(self.losses[..., 1, 1] - self.losses[..., 0, 0])

    def margins(self) -> Array:
        """Returns confidences in A's labels less those in B's, on the pixels of both worlds.

        Returns:
            Shape (M, S, W, 2).
        """
        return np.asarray(self.confidences[..., 0] - self.confidences[..., 1])

    def take(self, chosen: NDArray[np.int64] | slice) -> "Signals":
        """Returns the answers of some of the models."""
        return replace(
            self,
            losses=self.losses[chosen],
            confidences=self.confidences[chosen],
            maps=None if self.maps is None else self.maps[chosen],
            decoys=None if self.decoys is None else self.decoys.take(chosen),
        )

    def informed(self, public: "Signals") -> "Signals":
        """Adds what a public model answers on the same queries to the features of the content.

        Args:
            public: Answers of one model that saw no slot, such as the public initial weights.

        Raises:
            InputError: If it is not one model, or was shown no decoys and this was.
        """
        require(len(public) == 1, "public", "one model", len(public))
        shown = (self.decoys is None) == (public.decoys is None)
        require(shown, "public", "shown the same decoys", "others")
        answers = [public.gap()[0, :, :, None], public.margins()[0]]
        added = np.concatenate(answers, axis=2).mean(axis=1)
        decoys = None
        if self.decoys is not None and public.decoys is not None:
            decoys = self.decoys.informed(public.decoys)
        features = np.concatenate([self.features, added], axis=1)
        return replace(self, features=features, decoys=decoys)
