"""Which labels a canary bears: halves of the classes, a pair, or one that is odd."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropaudit.training.data import IGNORE

__all__ = ["Labelled", "halves", "least_shown", "one_label", "relabelled", "two_classes"]


class Labelled(Protocol):
    """What the choice of labels looks at."""

    @property
    def mask(self) -> Tensor:
        """The labels of the photograph, shape (H, W)."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""


def halves(
    ground: Labelled, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Splits the classes into two halves of equal size; of an odd number one is left out."""
    order = generator.permutation(len(ground.classes))
    middle = len(order) // 2
    return order[:middle], order[middle : 2 * middle]


def two_classes(ground: Labelled, generator: np.random.Generator) -> tuple[int, int]:
    """Draws two different classes."""
    first, second = generator.permutation(len(ground.classes))[:2]
    return int(first), int(second)


def least_shown(ground: Labelled, generator: np.random.Generator) -> int:
    """Draws one of the classes that the photograph shows least."""
    labels = ground.mask[ground.mask != IGNORE].long()
    shown = torch.bincount(labels, minlength=len(ground.classes)).numpy()
    return int(generator.choice(np.flatnonzero(shown == shown.min())))


def one_label(label: int, shape: tuple[int, int]) -> Tensor:
    """Returns one label all over, uint8."""
    return torch.full(shape, label, dtype=torch.uint8)


def relabelled(labels: Tensor, order: NDArray[np.int64]) -> Tensor:
    """Returns labels renamed by a permutation of the classes, `IGNORE` left alone.

    >>> relabelled(torch.tensor([0, 2, 255], dtype=torch.uint8), np.array([1, 2, 0])).tolist()
    [1, 0, 255]
    """
    table = torch.arange(IGNORE + 1, dtype=torch.uint8)
    table[: len(order)] = torch.from_numpy(order.astype(np.uint8))
    return table[labels.long()]
