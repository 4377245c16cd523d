"""White-box attack on the last iterate: only the first and the last weights are seen.

Plain SGD adds up: (theta_0 - theta_T) / learning rate, times the expected batch, is the sum Y of
all noisy sums. A gradient at momentum m counts up to 1 / (1 - m) times over the steps that follow
it; the end of the run, where it has not yet done so, is neglected, and so is weight decay. A slot
takes part T q rho times, with about its mean clipped gradient, taken at both ends of the run:
d_W = T q rho (c_W(theta_0) + c_W(theta_T)) / 2. With noise of variance T s^2, and the expectation
of the other records taken off Y, the score is the Gaussian log-likelihood ratio of Y at d_A to d_B.
What drifts between the ends costs power, never validity.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cropaudit.accounting.geometry import Crop
from cropaudit.attacks.double_sums import FLOAT32, rounding_beside_noise
from cropaudit.attacks.projections import Projector
from cropaudit.attacks.slot_views import SlotViews, background_crops, slot_views
from cropaudit.errors import require
from cropaudit.training.canaries.slots import CanarySlot
from cropaudit.training.data import SegmentationData
from cropaudit.training.samplers import Sampling, expected_batch

__all__ = ["RunFacts", "last_iterate_scores", "summed_updates"]

_MODEL_ERROR = 0.1  # of C a step: what the drift between the ends leaves unexplained


@dataclass(frozen=True)
class RunFacts:
    """What the adversary knows of the run.

    Attributes:
        sampling: How batches are drawn.
        steps: T.
        learning_rate: Of SGD; under a schedule its mean over the steps.
        noise_multiplier: In units of ``max_grad_norm``.
        max_grad_norm: C.
        momentum: Of SGD.
    """

    sampling: Sampling
    steps: int
    learning_rate: float
    noise_multiplier: float
    max_grad_norm: float
    momentum: float = 0.0

    def __post_init__(self) -> None:
        require(self.steps >= 1, "steps", "at least 1", self.steps)
        require(self.learning_rate > 0, "learning_rate", "above 0", self.learning_rate)
        require(self.noise_multiplier >= 0, "noise_multiplier", "at least 0", self.noise_multiplier)
        require(0 <= self.momentum < 1, "momentum", "at least 0 and below 1", self.momentum)


def summed_updates(before: nn.Module, after: nn.Module, run: RunFacts, records: int) -> Tensor:
    """Returns the sum of the run's noisy sums, shape (P,), float64, exact for plain SGD.

    Raises:
        InputError: If the two models have different trainable parameters.
    """
    ends = [[p for p in model.parameters() if p.requires_grad] for model in (before, after)]
    shapes = [[p.shape for p in parameters] for parameters in ends]
    require(shapes[0] == shapes[1], "model_after", "of the same parameters", "others")
    start, end = (torch.cat([p.detach().flatten().double() for p in one]) for one in ends)
    return (start - end.to(start)) * _scale(run, records)


def _scale(run: RunFacts, records: int) -> float:
    """Returns by what a move of the weights is to be multiplied to give a sum of gradients."""
    return expected_batch(run.sampling, records) * (1 - run.momentum) / run.learning_rate


def _require_digits(model: nn.Module, run: RunFacts, records: int, deviation: float) -> None:
    """Holds the rounding of float32 weights, once in every step, against the noise of a step."""
    weights = torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])
    typical = float(weights.double().square().mean().sqrt())
    rounding = FLOAT32 * typical * _scale(run, records)
    cure = "a larger learning_rate has them, or an attack that sees the updates"
    rounding_beside_noise(rounding, deviation, "the last-iterate score", cure)


def last_iterate_scores(
    model_before: nn.Module,
    model_after: nn.Module,
    data: SegmentationData,
    slots: Sequence[CanarySlot],
    crop: Crop,
    run: RunFacts,
    *,
    seed: int,
    windows: int = 8,
    natural: int = 48,
    chunk: int | None = None,
) -> NDArray[np.float64]:
    """Scores every slot, shape (slots,); high means world A.

    Args:
        model_before: With the weights before the first update.
        model_after: With those after the last.
        data: The records with slots empty.
        slots: The canaries.
        crop: The crop of the run.
        run: What else is known of it.
        seed: Of the windows and of the natural crops that are tried.
        windows: Windows tried for each slot and world.
        natural: Crops from which the expectation of the other records is estimated.
        chunk: Crops differentiated at once; see `Projector`.

    Raises:
        InputError: If the updates are lost in the rounding of the weights.
    """
    deviation = math.hypot(run.noise_multiplier, _MODEL_ERROR) * run.max_grad_norm
    _require_digits(model_after, run, len(data), deviation)
    views = slot_views(data, slots, crop, windows, seed)
    ends = [
        Projector(model, max_grad_norm=run.max_grad_norm, chunk=chunk)
        for model in (model_before, model_after)
    ]
    rate = expected_batch(run.sampling, len(data)) / len(data)
    generator = torch.Generator().manual_seed(seed)
    images, masks, share = background_crops(data, crop, natural, generator)
    others = _mean_of_ends(ends, images, masks) * (run.steps * rate * share)
    seen = summed_updates(model_before, model_after, run, len(data)) - others
    variance = run.steps * deviation**2
    times = run.steps * rate
    return np.array([_score(ends, data, crop, one, times, seen) / variance for one in views])


def _score(
    ends: Sequence[Projector],
    data: SegmentationData,
    crop: Crop,
    views: SlotViews,
    times: float,
    seen: Tensor,
) -> float:
    """Returns d_A.Y - |d_A|^2 / 2 less the same of B."""
    images, masks = views.crops(data, crop)
    hits = len(views.hits)
    scores = []
    for start in (0, hits):
        world = slice(start, start + hits)
        total = _mean_of_ends(ends, images[world], masks[world])
        added = total * (times * views.inclusion / hits)
        scores.append(float(added @ seen - added.square().sum() / 2))
    return scores[0] - scores[1]


def _mean_of_ends(ends: Sequence[Projector], images: Tensor, masks: Tensor) -> Tensor:
    """Returns the clipped sum, averaged over both ends of the run, on the device of the first."""
    first, last = (end.clipped_sum(images, masks) for end in ends)
    return (first + last.to(first)) / 2
