"""Black-box attack on the final model: losses on the patch, averaged over crops that show it.

The adversary queries the released model on crops of the canary's image and compares how well the
labels of world A and those of world B fit the patch; it sees no update and no reference model.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cropaudit.accounting.geometry import Crop
from cropaudit.attacks.white_box import slot_crops
from cropaudit.training.canaries import CanarySlot
from cropaudit.training.data import SegmentationData
from cropaudit.training.losses import pixel_losses, prepare

__all__ = ["black_box_scores"]

_CHUNK = 64  # crops shown to the model at once


def black_box_scores(
    model: nn.Module,
    data: SegmentationData,
    slots: Sequence[CanarySlot],
    crop: Crop,
    *,
    windows: int,
    seed: int,
) -> NDArray[np.float64]:
    """Scores every slot by the loss of B's labels less the loss of A's.

    Args:
        model: The released model.
        data: The records with slots empty.
        slots: The canaries.
        crop: The crop of training.
        windows: Crops to average over.
        seed: Of the windows.

    Returns:
        Shape (slots,), nats per pixel; high means world A.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    total = torch.zeros(len(slots), dtype=torch.float64)
    model.eval()
    with torch.no_grad():
        for _ in range(windows):
            images, masks = slot_crops(data, slots, crop, generator, covering=True)
            losses = torch.cat(
                [
                    pixel_losses(model(prepare(part.to(device))).double(), labels.to(device)).cpu()
                    for part, labels in zip(*(_pieces(x) for x in (images, masks)), strict=True)
                ]
            )
            total += losses[len(slots) :] - losses[: len(slots)]
    return np.asarray((total / windows).numpy())


def _pieces(batch: Tensor) -> list[Tensor]:
    return [batch[start : start + _CHUNK] for start in range(0, len(batch), _CHUNK)]
