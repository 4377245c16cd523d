"""The description of one DP-SGD run; nothing is computed here."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from cropaudit.accounting.crop_laws import CropLaw
from cropaudit.accounting.names import Clipped
from cropaudit.errors import require
from cropaudit.training.models import GradSampleMode, Norm, WeightsFile
from cropaudit.training.samplers import Sampling
from cropaudit.training.schedules import Constant, Schedule

__all__ = ["DpSgdSpec", "Precision", "WantedMode"]

Precision = Literal["float32", "bf16"]
WantedMode = GradSampleMode | Literal["auto"]


@dataclass(frozen=True)
class DpSgdSpec:
    """One DP-SGD run.

    Attributes:
        model: A name that `build_model` knows.
        crop: The window cut from each picked image.
        sampling: Which images take part in each step.
        steps: Number of noisy sums, also of those over an empty batch.
        noise_multiplier: Deviation of the noise in units of ``max_grad_norm``; 0 for no noise.
        max_grad_norm: C, the l2 bound on one image's gradient (or on one crop's: see ``clipped``).
        learning_rate: Of plain SGD, after the warmup.
        momentum: Of SGD; post-processing of the noisy mean.
        seed: Of every random draw.
        weight_decay: Of SGD: its share of the weights is added to the noisy mean; post-processing.
        schedule: How the learning rate changes; data-independent, so post-processing too.
        physical_batch: Crops that pass through the model at once, which bounds the memory; larger
            batches are accumulated, and noise is added once for each of them. None for no limit.
        grad_sample_mode: How Opacus takes per-sample gradients; "auto" measures which is fastest;
            None for the way that the model's recipe names.
        precision: Of forward and backward passes. Norms, clipping, sums and noise are float32 in
            either case.
        crops_per_image: Crops of one image in one step, K.
        clipped: Whether K gradients of an image are averaged and then clipped ("together"), or
            clipped one by one and summed ("apart": an image then moves the sum by up to 2KC).
        norm: What takes the place of BatchNorm; see `build_model`.
        weights: Where the weights start, if not at random; see `build_model`.
    """

    model: str
    crop: CropLaw
    sampling: Sampling
    steps: int
    noise_multiplier: float
    max_grad_norm: float
    learning_rate: float
    momentum: float = 0.0
    seed: int = 0
    weight_decay: float = 0.0
    schedule: Schedule = field(default_factory=Constant)
    physical_batch: int | None = None
    grad_sample_mode: WantedMode | None = None
    precision: Precision = "float32"
    crops_per_image: int = 1
    clipped: Clipped = "together"
    norm: Norm = "group"
    weights: WeightsFile | None = None

    def __post_init__(self) -> None:
        require(self.steps >= 1, "steps", "at least 1", self.steps)
        sigma = self.noise_multiplier
        require(0 <= sigma < math.inf, "noise_multiplier", "at least 0 and finite", sigma)
        norm, rate = self.max_grad_norm, self.learning_rate
        require(0 < norm < math.inf, "max_grad_norm", "above 0 and finite", norm)
        require(0 < rate < math.inf, "learning_rate", "above 0 and finite", rate)
        require(0 <= self.momentum < 1, "momentum", "at least 0 and below 1", self.momentum)
        require(self.seed >= 0, "seed", "at least 0", self.seed)
        decay = self.weight_decay
        require(0 <= decay < math.inf, "weight_decay", "at least 0 and finite", decay)
        warmup = self.schedule.warmup
        require(warmup < self.steps, "warmup", f"below the {self.steps} steps", warmup)
        require(self.crops_per_image >= 1, "crops_per_image", "at least 1", self.crops_per_image)
        for name, value, legal in (
            ("grad_sample_mode", self.grad_sample_mode, (None, "auto", *get_args(GradSampleMode))),
            ("precision", self.precision, get_args(Precision)),
            ("clipped", self.clipped, get_args(Clipped)),
        ):
            require(value in legal, name, f"one of {', '.join(map(str, legal))}", value)
        self._require_physical()

    @property
    def averaged(self) -> int:
        """How many crops' gradients are averaged into one before it is clipped."""
        return self.crops_per_image if self.clipped == "together" else 1

    def _require_physical(self) -> None:
        if self.physical_batch is not None:
            least = self.averaged
            legal = f"at least {least}, the crops that are averaged before clipping"
            require(self.physical_batch >= least, "physical_batch", legal, self.physical_batch)
