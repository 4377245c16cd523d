"""Reads one model's logits on the crops of one slot, on the patch's pixels alone."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from cropaudit.attacks.black_box.queries import Queries
from cropaudit.training.data import IGNORE

__all__ = ["Predict", "answers"]

# Maps scaled images (B, 3, h, w) to logits (B, K, h, w).
Predict = Callable[[Tensor], Tensor]

_PIXELS = 2**18  # shown to a model at once


def answers(
    predict: Predict, pixels: Tensor, queries: Queries, side: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Shows all crops to one model.

    Args:
        predict: The model.
        pixels: The queries' images, scaled, on the model's device.
        queries: Their labels and cells there too.
        side: Cells along each side of the patch's box, g.

    Returns:
        On the CPU: losses and confidences (W, 2, 2) by window, pixels and labels, and losses by
        cell, averaged over windows (2, 2, g, g).
    """
    rows = max(1, _PIXELS // pixels[0, 0].numel())
    with torch.no_grad():
        logits = torch.cat([predict(part) for part in torch.split(pixels, rows)])
    # Only what lies in the patch is looked at; N pixels of all crops together.
    crop, row, column = torch.nonzero(queries.cells, as_tuple=True)
    cells, labels = queries.cells[crop, row, column], queries.labels[crop, :, row, column].long()
    shown = labels != IGNORE
    losses, confidences = _pixel_scores(logits[crop, :, row, column].double(), labels, shown)
    mean = [_means(part, shown, crop, len(pixels)) for part in (losses, confidences)]
    # Rows are world A's pixels through every window, then world B's.
    by_world = [part.reshape(2, -1, 2).movedim(0, 1).cpu() for part in mean]
    world = (crop >= len(pixels) // 2).long()
    maps = _means(losses, shown, world * side * side + cells - 1, 2 * side * side)
    return by_world[0], by_world[1], maps.reshape(2, side, side, 2).movedim(-1, 1).cpu()


def _pixel_scores(logits: Tensor, labels: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
    """Returns every pixel's loss and confidence under either world's labels.

    Args:
        logits: Shape (N, K), float64: confidences subtract what nearly agrees.
        labels: Shape (N, 2).
        shown: Which are no `IGNORE`, shape (N, 2).

    Returns:
        Float64, shapes (N, 2), of any value where not shown.
    """
    labels = labels.masked_fill(~shown, 0)
    right = logits.gather(1, labels)
    others = [
        logits.scatter(1, labels[:, world : world + 1], -torch.inf).logsumexp(dim=1)
        for world in range(2)
    ]
    confidences = right - torch.stack(others, dim=1)
    # The loss is -log p, and p / (1 - p) = exp(confidence).
    return functional.softplus(-confidences), confidences


def _means(values: Tensor, shown: Tensor, group: Tensor, groups: int) -> Tensor:
    """Returns means over the shown values of each group, shape (groups, 2); 0 where none is."""
    empty = values.new_zeros(groups, 2)
    sums = empty.index_add(0, group, values * shown)
    return sums / empty.index_add(0, group, shown.double()).clamp(min=1)
