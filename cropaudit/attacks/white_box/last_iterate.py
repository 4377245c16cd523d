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

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cropaudit.attacks.base import AttackedRun, Comparing, Work
from cropaudit.attacks.slot_views import SlotViews, background_crops, slot_views
from cropaudit.attacks.white_box.double_sums import FLOAT32, rounding_beside_noise
from cropaudit.attacks.white_box.projections import Projector
from cropaudit.errors import require
from cropaudit.training.sampling.samplers import expected_batch
from cropaudit.training.sampling.schedules import learning_rates

__all__ = ["LAST_ITERATE", "last_iterate_scores", "summed_updates"]

_MODEL_ERROR = 0.1  # of C a step: what the drift between the ends leaves unexplained
_WINDOWS, _NATURAL = 8, 48


def summed_updates(before: nn.Module, after: nn.Module, run: AttackedRun) -> Tensor:
    """Returns the sum of the run's noisy sums, shape (P,), float64, exact for plain SGD.

    Raises:
        InputError: If the two models have different trainable parameters.
    """
    ends = [[p for p in model.parameters() if p.requires_grad] for model in (before, after)]
    shapes = [[p.shape for p in parameters] for parameters in ends]
    require(shapes[0] == shapes[1], "model_after", "of the same parameters", "others")
    start, end = (torch.cat([p.detach().flatten().double() for p in one]) for one in ends)
    return (start - end.to(start)) * _scale(run)


def _scale(run: AttackedRun) -> float:
    """Returns by what a move of the weights is to be multiplied to give a sum of gradients."""
    spec = run.spec
    rate = float(np.mean(learning_rates(spec.schedule, spec.learning_rate, spec.steps)))
    return expected_batch(spec.sampling, len(run.data)) * (1 - spec.momentum) / rate


def _require_digits(model: nn.Module, run: AttackedRun, deviation: float) -> None:
    """Holds the rounding of float32 weights, once in every step, against the noise of a step."""
    weights = torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])
    typical = float(weights.double().square().mean().sqrt())
    rounding = FLOAT32 * typical * _scale(run)
    cure = "a larger learning_rate has them, or an attack that sees the updates"
    rounding_beside_noise(rounding, deviation, "the last-iterate score", cure)


def last_iterate_scores(
    run: AttackedRun, before: nn.Module, after: nn.Module, seed: int
) -> NDArray[np.float64]:
    """Scores every slot, shape (slots,); high means world A.

    Args:
        run: What is attacked; under a schedule its mean learning rate counts.
        before: The model with the weights before the first update.
        after: With those after the last.
        seed: Of the windows and of the natural crops that are tried.

    Raises:
        InputError: If the updates are lost in the rounding of the weights.
    """
    spec = run.spec
    deviation = math.hypot(spec.noise_multiplier, _MODEL_ERROR) * spec.max_grad_norm
    _require_digits(after, run, deviation)
    views = slot_views(run, _WINDOWS, seed)
    ends = [Projector(model, max_grad_norm=spec.max_grad_norm) for model in (before, after)]
    times = spec.steps * run.sample_rate
    generator = torch.Generator().manual_seed(seed)
    images, masks, share = background_crops(run, _NATURAL, generator)
    others = _mean_of_ends(ends, images, masks) * (times * share)
    seen = summed_updates(before, after, run) - others
    variance = spec.steps * deviation**2
    return np.array([_score(ends, run, one, times, seen) / variance for one in views])


def _score(
    ends: Sequence[Projector], run: AttackedRun, views: SlotViews, times: float, seen: Tensor
) -> float:
    """Returns d_A.Y - |d_A|^2 / 2 less the same of B."""
    images, masks = views.crops(run)
    hits = len(views.hits)
    scores = []
    for start in (0, hits):
        world = slice(start, start + hits)
        total = _mean_of_ends(ends, images[world], masks[world])
        added = total * (times * views.inclusion * views.loudness / hits)
        scores.append(float(added @ seen - added.square().sum() / 2))
    return scores[0] - scores[1]


def _mean_of_ends(ends: Sequence[Projector], images: Tensor, masks: Tensor) -> Tensor:
    """Returns the clipped sum, averaged over both ends of the run, on the device of the first."""
    first, last = (end.clipped_sum(images, masks) for end in ends)
    return (first + last.to(first)) / 2


def _cost(work: Work) -> float:
    return 2.0 * (2 * _WINDOWS * work.slots + _NATURAL)


LAST_ITERATE = Comparing(
    name="last-iterate",
    title="Last iterate of the real model",
    beside="takes a few gradients of each canary",
    cost=_cost,
    score=last_iterate_scores,
)
