"""A network whose per-image gradient is known in direction whatever the loss, and its images.

Two bias-free linear layers see one half of the pixels each; what they give is added to one class's
logit at every pixel. An image that is ``size`` times a unit vector therefore has the gradient
``slope * size`` along that very unit vector, where the slope depends on the loss alone, and a
clipped gradient of norm C along it. Coordinates that no image uses carry noise and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cropaudit.audit.conformance.observe.updates import SCENARIOS

__all__ = ["SIDE", "Plan", "ProbeNet", "Pull", "plan_round"]

SIDE = 32
_HALF = 3 * SIDE * SIDE // 2
# Directions that images use, in each layer; the others are for noise alone.
_USED = 512
# Far beyond any clipping norm, and far enough apart to tell a gradient that is not clipped.
_SIZES = (1e6, 1e8)
_LABEL = 1


class ProbeNet(nn.Module):
    """Maps (B, 3, `SIDE`, `SIDE`) to logits (B, K, `SIDE`, `SIDE`); all weights start at 0."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(_HALF, 1, bias=False)
        self.second = nn.Linear(_HALF, 1, bias=False)
        # One class only bears the sum; the mask lights up wherever there are classes to tell.
        self.label = min(_LABEL, classes - 1)
        self.classes = classes
        self.reset()

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits, 0 but for one class."""
        pixels = images.reshape(len(images), 2 * _HALF)
        pull = self.first(pixels[:, :_HALF]) + self.second(pixels[:, _HALF:])
        parts = [pull if k == self.label else 0 * pull for k in range(self.classes)]
        logits = torch.cat(parts, dim=1)
        return logits[:, :, None, None].expand(-1, -1, SIDE, SIDE).contiguous()

    def reset(self) -> None:
        """Sets the weights to 0, in place, so that optimisers and wrappers keep them."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
                parameter.grad = None

    def weights(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Returns all weights, (P,), layer 0 first."""
        flat = torch.cat([self.first.weight.detach().flatten(), self.second.weight.flatten()])
        found: np.ndarray[Any, np.dtype[np.float64]] = flat.detach().cpu().double().numpy()
        return found

    @staticmethod
    def layers() -> np.ndarray[Any, np.dtype[np.int64]]:
        """Returns the layer of each weight, (P,)."""
        return np.repeat(np.arange(2), _HALF)

    @staticmethod
    def quiet() -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Returns which weights no image uses, (P,)."""
        return np.tile(np.arange(_HALF) >= _USED, 2)


@dataclass(frozen=True)
class Pull:
    """Images of one step along one direction.

    Attributes:
        axis: Within the layers.
        layers: 0, 1, or 2 for both.
        ahead: Images along it.
        against: Images against it.
        large: Whether they are of the larger size.
    """

    axis: int
    layers: int
    ahead: int
    against: int = 0
    large: bool = True

    @property
    def first(self) -> int:
        """Coordinate in layer 0, or -1."""
        return -1 if self.layers == 1 else self.axis

    @property
    def second(self) -> int:
        """Coordinate in layer 1, or -1."""
        return -1 if self.layers == 0 else _HALF + self.axis


@dataclass(frozen=True)
class Plan:
    """One batch.

    Attributes:
        scenario: Index into `SCENARIOS`.
        pulls: Its images.
        blanks: Images of zeros, without a gradient.
    """

    scenario: int
    pulls: tuple[Pull, ...]
    blanks: int = 0

    @property
    def count(self) -> int:
        """Images in the batch."""
        return self.blanks + sum(p.ahead + p.against for p in self.pulls)

    def batch(self, label: int) -> tuple[Tensor, Tensor]:
        """Returns images (B, 3, `SIDE`, `SIDE`) and masks (B, `SIDE`, `SIDE`) full of ``label``."""
        rows = np.zeros((self.count, 2 * _HALF), dtype=np.float32)
        row = 0
        for pull in self.pulls:
            used = [at for at in (pull.first, pull.second) if at >= 0]
            value = _SIZES[pull.large] / np.sqrt(len(used))
            for sign in [1] * pull.ahead + [-1] * pull.against:
                rows[row, used] = sign * value
                row += 1
        images = torch.from_numpy(rows).reshape(-1, 3, SIDE, SIDE)
        masks = torch.full((self.count, SIDE, SIDE), label, dtype=torch.int64)
        return images, masks


def plan_round(index: int, start: int, base: int, singles: int, large: int) -> list[Plan]:
    """Returns the batches of one round, on directions that neighbours in time do not share.

    Args:
        index: Of the round; layers and sizes alternate.
        start: First direction to use.
        base: Images in a batch of usual size.
        singles: Batches of one image.
        large: Images in the large batches.
    """
    one_layer, big = index % 2, bool(index % 2)
    recipes: Sequence[tuple[str, list[tuple[int, int, int, bool]], int]] = (
        ("empty", [], 0),
        ("distinct", [(2, 1, 0, k % 2 == 0) for k in range(base)], 0),
        ("empty", [], 0),
        ("stack", [(2, large, 0, big)], 0),
        ("mixed", [(2, 1 + k % 2, k % 3 == 0, True) for k in range(max(1, base // 3))], 2),
        ("stack in one layer", [(one_layer, large, 0, True)], 0),
        ("stack", [(2, base, 0, not big)], 0),
        *[("single", [(2, 1, 0, k % 2 == 0)], 0) for k in range(singles)],
        ("large", [(2, 1, 0, True) for _ in range(large)], 0),
    )
    plans = []
    for name, kinds, blanks in recipes:
        pulls = tuple(
            Pull((start + k) % _USED, layers, int(ahead), int(against), big_one)
            for k, (layers, ahead, against, big_one) in enumerate(kinds)
        )
        start += len(pulls)
        plans.append(Plan(SCENARIOS.index(name), pulls, blanks))
    return plans
