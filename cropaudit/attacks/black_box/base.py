"""What all black-box attacks share: the one question, and what references tell about a slot."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cropaudit.attacks.black_box.signals import Signals
from cropaudit.errors import InputError, require

__all__ = ["Attack", "Coins", "checked", "per_world"]

Array = NDArray[np.float64]
Coins = NDArray[np.bool_]


class Attack(Protocol):
    """Scores of every slot of every target model; no target's coin is ever passed."""

    def score(self, target: Signals, references: Signals | None, coins: Coins | None) -> Array:
        """Returns scores of shape (T, S); high means world A.

        Args:
            target: Answers of T target models.
            references: Answers of R models that the adversary trained, on the same queries.
            coins: Of the references, shape (R, S), true for world A.

        Raises:
            InputError: If the attack needs what is not given.
        """


def checked(
    attack: str, target: Signals, references: Signals | None, coins: Coins | None
) -> tuple[Signals, Coins]:
    """Returns references and coins, which the attack cannot do without.

    Raises:
        InputError: If they are missing or do not fit the target.
    """
    if references is None or coins is None:
        raise InputError(f"references must be given with their coins for {attack}, got None")
    legal = f"one for each of {target.slots} slots"
    require(references.slots == target.slots, "references", legal, references.slots)
    shape = (len(references), target.slots)
    require(coins.shape == shape, "coins", f"of shape {shape}", coins.shape)
    return references, coins


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
