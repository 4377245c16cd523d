"""What the tests of attacks share: random photographs, and runs to be attacked."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cropaudit.accounting.geometry.crop_laws import CropLaw, ResizedCrop
from cropaudit.accounting.geometry.shapes import Crop, Size
from cropaudit.attacks.base import AttackedRun
from cropaudit.training.canaries import CanarySlot
from cropaudit.training.data.images import SegmentationData
from cropaudit.training.dpsgd.loop import DpSgdSpec
from cropaudit.training.sampling.samplers import Poisson

__all__ = ["CLIP", "RATE", "RESIZED", "attacked", "auc", "scenes"]

CLIP, RATE = 0.7, 0.3
UNIFORM = Crop(Size(14, 16))
RESIZED = ResizedCrop(Size(14, 16), (0.15, 0.5))


def scenes(images: int = 4) -> SegmentationData:
    stream = torch.Generator().manual_seed(3)
    shapes = [(24, 28), (26, 22), (24, 28), (31, 25)][:images]
    return SegmentationData(
        tuple(torch.randint(256, (3, *s), generator=stream, dtype=torch.uint8) for s in shapes),
        tuple(torch.randint(4, s, generator=stream, dtype=torch.uint8) for s in shapes),
        ("sky", "road", "car", "tree"),
        tuple(f"image {i}" for i in range(images)),
        "test",
    )


def attacked(
    data: SegmentationData,
    slots: Sequence[CanarySlot],
    crop: CropLaw = UNIFORM,
    *,
    windows: int = 3,
    **changes: Any,
) -> AttackedRun:
    """A run of small-unet at noise multiplier 1 and rate 0.3, but for some changes."""
    values: dict[str, Any] = {
        "model": "small-unet",
        "crop": crop,
        "sampling": Poisson(RATE),
        "steps": 10,
        "noise_multiplier": 1.0,
        "max_grad_norm": CLIP,
        "learning_rate": 0.1,
        "seed": 1,
    }
    return AttackedRun(data, tuple(slots), DpSgdSpec(**{**values, **changes}), windows)


def auc(scores: NDArray[np.float64], coins: NDArray[np.bool_]) -> float:
    a, b = scores[coins][:, None], scores[~coins][None, :]
    return float((a > b).mean() + (a == b).mean() / 2)
