"""Many data sets that differ in the coins of their slots alone, as members of one ensemble.

Each record that bears slots stands in the pool once for every combination of contents that some
member has; all other images are shared.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cropaudit.errors import require
from cropaudit.training.canaries import CanarySlot, fill_slots
from cropaudit.training.data import SegmentationData
from cropaudit.training.ensemble import Members

__all__ = ["members_of_coins"]


def members_of_coins(
    empty: SegmentationData,
    slots: Sequence[CanarySlot],
    coins: NDArray[np.bool_],
    seeds: Sequence[int],
) -> Members:
    """Returns one member for each row of coins.

    Args:
        empty: The records, their slots empty.
        slots: The slots.
        coins: True for world A, shape (members, slots).
        seeds: Of each member's draws.

    Raises:
        InputError: If the shapes do not fit.
    """
    legal = f"of shape (members, {len(slots)} slots)"
    require(coins.ndim == 2 and coins.shape[1] == len(slots), "coins", legal, coins.shape)
    require(len(coins) == len(seeds), "seeds", f"{len(coins)}, one a member", len(seeds))
    variants = np.tile(np.arange(len(empty)), (len(coins), 1))
    images, masks, names = list(empty.images), list(empty.masks), list(empty.names)
    for record in sorted({slot.record for slot in slots}):
        mine = [number for number, slot in enumerate(slots) if slot.record == record]
        here = [slots[number] for number in mine]
        worlds, which = np.unique(coins[:, mine], axis=0, return_inverse=True)
        variants[:, record] = len(images) + which.reshape(-1)
        for world in worlds:
            full = fill_slots(empty, here, world)
            images.append(full.images[record])
            masks.append(full.masks[record])
            names.append(empty.names[record])
    pool = replace(empty, images=tuple(images), masks=tuple(masks), names=tuple(names))
    return Members(pool, variants, seeds)
