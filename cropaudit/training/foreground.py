"""Two classes out of many: those that matter against all the rest."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from cropaudit.errors import require
from cropaudit.training.data import IGNORE, SegmentationData

__all__ = ["as_foreground"]


def as_foreground(data: SegmentationData, names: Sequence[str]) -> SegmentationData:
    """Returns the data with the classes ``rest`` and ``foreground``; what is ignored stays so.

    Args:
        data: Images with masks.
        names: Classes that are the foreground, in any case.

    Raises:
        InputError: If a name is no class of the data, or nothing would be left as the rest.
    """
    known = [name.lower() for name in data.classes]
    legal = f"among {', '.join(data.classes)}"
    for name in names:
        require(name.lower() in known, "foreground", legal, name)
    chosen = [known.index(name.lower()) for name in names]
    rest = len(set(chosen)) < len(known)
    require(bool(chosen) and rest, "foreground", "some classes but not all", ", ".join(names))
    table = torch.zeros(IGNORE + 1, dtype=torch.uint8)
    table[chosen], table[IGNORE] = 1, IGNORE

    def merged(mask: Tensor) -> Tensor:
        return table[mask.long()]

    return replace(
        data, masks=tuple(merged(mask) for mask in data.masks), classes=("rest", "foreground")
    )
