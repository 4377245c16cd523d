"""What a pipeline is said to do, as far as conformance goes: the values that measurements meet.

Every part may be left open. A check that needs an open part is skipped and says so; the crop, if
open, is read off the windows, and the report says that it was not claimed.
"""

import math
from dataclasses import dataclass

from cropaudit.accounting.crop_laws import CropLaw
from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.accounting.names import SamplerName
from cropaudit.errors import require

__all__ = ["Claimed"]

_IMAGE = Size(360, 480)
_PATCH = Rectangle(Size(20, 20))


@dataclass(frozen=True)
class Claimed:
    """The claim.

    Attributes:
        image: Size of the images that the pipeline is probed with.
        patch: The patch.
        crop: The law of the windows; none to take the one that is seen.
        inclusion: The inclusion probability rho that the accountant was given; the exact one of
            ``crop`` where none is.
        crops: Crops of one image in one step.
        sampler: How batches are drawn.
        batch: Batch size, expected under Poisson sampling: the divisor of the noisy sum.
        records: Images in the data set.
        steps: Optimiser steps.
        epochs: Epochs begun, for samplers of a fixed order.
        noise_multiplier: Deviation of the noise in units of ``max_grad_norm``.
        max_grad_norm: C.
        learning_rate: Of the update.
        delta: For epsilon.
        epsilon: The claimed epsilon; the accountant's own where none is given.
    """

    image: Size = _IMAGE
    patch: Rectangle = _PATCH
    crop: CropLaw | None = None
    inclusion: float | None = None
    crops: int = 1
    sampler: SamplerName = "poisson"
    batch: int | None = None
    records: int | None = None
    steps: int | None = None
    epochs: int | None = None
    noise_multiplier: float | None = None
    max_grad_norm: float | None = None
    learning_rate: float | None = None
    delta: float = 1e-5
    epsilon: float | None = None

    def __post_init__(self) -> None:
        image, patch = self.image, self.patch.size
        fits = patch.height <= image.height and patch.width <= image.width
        require(fits, "patch", f"at most the image {image}", patch)
        if isinstance(self.crop, Crop):
            self.crop.origins(image)  # raises where the window does not fit
        for name in ("batch", "records", "steps", "epochs", "crops"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, "at least 1", value)
        for name in ("max_grad_norm", "learning_rate"):
            value = getattr(self, name)
            require(value is None or 0 < value < math.inf, name, "above 0 and finite", value)
        for name, label in (("noise_multiplier", "noise"), ("epsilon", "epsilon")):
            value = getattr(self, name)  # epsilon is 0 where delta pays for everything
            require(value is None or 0 <= value < math.inf, label, "at least 0 and finite", value)
        require(0 < self.delta < 1, "delta", "in (0, 1)", self.delta)
        rho = self.inclusion
        require(rho is None or 0 <= rho <= 1, "inclusion", "in [0, 1]", rho)
        if self.batch is not None and self.records is not None:
            legal = f"at most the {self.records} records"
            require(self.batch <= self.records, "batch", legal, self.batch)
