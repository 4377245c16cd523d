"""What a black-box adversary reads off a model: losses and confidences on the pixels of a patch.

Every slot is shown in its record, other slots empty, through the same windows for every model, with
the pixels of either world; the answer is read under the labels of either world. All numbers are
means over those pixels of the patch that the window shows and that bear a label.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cropaudit.errors import InputError, require
from cropaudit.training.canaries import CanarySlot
from cropaudit.training.data.images import SegmentationData

__all__ = ["Coins", "Decoys", "Signals", "checked", "checked_coins", "per_world"]

Array = NDArray[np.float64]
Coins = NDArray[np.bool_]


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


def checked(attack: str, target: Signals, references: Signals | None) -> Signals:
    """Returns the references, which an attack cannot do without.

    Raises:
        InputError: If they are missing or do not fit the target.
    """
    if references is None:
        raise InputError(f"references must be given for {attack}, got None")
    legal = f"one for each of {target.slots} slots"
    require(references.slots == target.slots, "references", legal, references.slots)
    return references


def checked_coins(
    attack: str, target: Signals, references: Signals | None, coins: Coins | None
) -> tuple[Signals, Coins]:
    """Returns references and their coins, which an attack cannot do without; see `checked`."""
    known = checked(attack, target, references)
    if coins is None:
        raise InputError(f"references must be given with their coins for {attack}, got None")
    shape = (len(known), target.slots)
    require(coins.shape == shape, "coins", f"of shape {shape}", coins.shape)
    return known, coins


def per_world(values: Array, coins: Coins, least: int) -> tuple[Array, Array, Array, Array]:
    """Returns means and scatters of the references by slot and world.

    Args:
        values: Shape (R, S, D).
        coins: Shape (R, S); pass ``~coins`` for the other world.
        least: References that each slot must have in this world.

    Returns:
        Numbers n of shape (S,), means (S, D), deviations from them with zeros in the other world
        (R, S, D), and sums of squares (S, D, D).

    Raises:
        InputError: If a slot has too few.
    """
    count = coins.sum(axis=0)
    legal = f"at least {least} in each world for every slot"
    require(int(count.min()) >= least, "references", legal, int(count.min()))
    weights = coins[:, :, None]
    means = (values * weights).sum(axis=0) / count[:, None]
    away = (values - means) * weights
    return count, means, away, np.einsum("rsd,rse->sde", away, away)
