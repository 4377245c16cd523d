"""White-box attack on a large model: the likelihood ratio from projections, never gradients.

To one slot, a step's noisy sum y is noise, what the other records add (the background), and, with
probability q, its own clipped gradient c(w) at a window w of the crop's law. With y' = y less what
is known of the background, and s^2 the variance of what is left along a unit vector, the likelihood
of a world, relative to the slot's absence, is

    1 - q + q (1 - rho) mean_miss[e(w)] + q rho mean_hit[e(w)],   e(w) = exp((c.y' - |c|^2/2) / s^2)

where batch and window are averaged out; windows that miss the patch give e = 1 where the record
bears no labels outside it. The score is the log-likelihood ratio of world A to B, summed over the
steps. All c.y' come from one forward-mode pass, and |c| from gradients every ``refresh`` steps
(see `projections`). Few windows and norms that are some steps old cost power, never validity.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cropaudit.attacks.base import AttackedRun, Watching, looks
from cropaudit.attacks.slot_views import background_crops, in_groups, log_worlds, slot_views
from cropaudit.attacks.white_box.double_sums import FLOAT32, rounding_beside_noise
from cropaudit.attacks.white_box.projections import Projector, clip_factors
from cropaudit.errors import require
from cropaudit.training.dpsgd.loop import StepView

__all__ = ["PROJECTED", "ProjectedWhiteBox"]

_PRIOR = 10  # steps' weight of all slots' mean variance in that of each
_PASSES = 10  # roundings of a projection in float32, through all layers, in units of one
_MODEL_ERROR = 0.1  # of C: what the few windows leave unexplained, beside the noise
_WINDOWS, _NATURAL, _REFRESH = 8, 48, 5


class ProjectedWhiteBox:
    """Watches a run and scores its slots; pass it as the observer of `train`."""

    def __init__(
        self, run: AttackedRun, seed: int, *, windows: int = _WINDOWS, refresh: int = _REFRESH
    ) -> None:
        """Prepares to watch.

        Args:
            run: What is attacked.
            seed: Of the windows that are tried.
            windows: Windows tried for each slot and world.
            refresh: Norms, and the mean of the background, are taken anew every so many steps.

        Raises:
            InputError: If an argument is out of its range.
        """
        require(refresh >= 1, "refresh", "at least 1", refresh)
        self.run, self.views = run, slot_views(run, windows, seed)
        self.max_grad_norm, self.refresh = run.spec.max_grad_norm, refresh
        noise = math.hypot(run.spec.noise_multiplier, _MODEL_ERROR)
        self.variance = (noise * self.max_grad_norm) ** 2
        self.generator = torch.Generator().manual_seed(seed)
        self.total = torch.zeros(len(run.slots), dtype=torch.float64)
        self._norms: list[Tensor] | None = None
        self._mean: Tensor | None = None
        self._squares = torch.zeros(len(run.slots), dtype=torch.float64)
        self._steps = 0
        self._projector: Projector | None = None

    def __call__(self, view: StepView) -> None:
        """Adds one step's log-likelihood ratios."""
        projector = self._of(view.model)
        fresh = view.step % self.refresh == 0
        if fresh or self._mean is None:
            fresh, self._mean = True, self._background(projector)
        dots = self._look(projector, view.noisy_sum - self._mean, fresh)
        variances = self._spread(dots)
        for place, views in enumerate(self.views):
            norms = self._clipped_norms(place)
            exponents = (dots[place] - norms.square() / 2) / variances[place]
            a, b = log_worlds(exponents, views, self.run.sample_rate)
            self.total[place] += a - b

    def scores(self) -> NDArray[np.float64]:
        """Returns the sum of all steps so far, shape (slots,); high means world A."""
        return np.asarray(self.total.numpy()).copy()

    def _of(self, model: nn.Module) -> Projector:
        if self._projector is None or self._projector.model is not model:
            self._projector = Projector(model, max_grad_norm=self.max_grad_norm)
        return self._projector

    def _look(self, projector: Projector, seen: Tensor, fresh: bool) -> list[Tensor]:
        """Returns every slot's clipped projections, and takes the norms where they are due.

        Raises:
            InputError: If float32 cannot hold them beside so little noise.
        """
        rounding = _PASSES * FLOAT32 * float(seen.norm())
        cure = "more noise has them"
        deviation = math.sqrt(self.variance)
        rounding_beside_noise(rounding, deviation, "the projected white-box score", cure)
        dots: list[Tensor] = []
        norms: list[Tensor] = []
        for group in in_groups(self.views):
            cuts = [views.crops(self.run) for views in group]
            images, masks = (torch.cat(part) for part in zip(*cuts, strict=True))
            sizes = [len(views) for views in group]
            if fresh:
                found = projector.project(images, masks, seen)
                dots += torch.split(found.dot, sizes)
                norms += torch.split(found.norm, sizes)
            else:
                dots += torch.split(projector.dots(images, masks, seen), sizes)
        self._norms = norms if fresh else self._norms
        return [dot * self._factors(place) for place, dot in enumerate(dots)]

    def _factors(self, place: int) -> Tensor:
        assert self._norms is not None  # the first look is fresh
        factors = clip_factors(self._norms[place], self.max_grad_norm)
        return factors * self.views[place].loudness

    def _clipped_norms(self, place: int) -> Tensor:
        assert self._norms is not None
        return self._norms[place].clamp(max=self.max_grad_norm) * self.views[place].loudness

    def _background(self, projector: Projector) -> Tensor:
        """Returns what all records are expected to add, their slots empty, shape (P,)."""
        images, masks, share = background_crops(self.run, _NATURAL, self.generator)
        return projector.clipped_sum(images, masks) * (self.run.sample_rate * share)

    def _spread(self, dots: list[Tensor]) -> Tensor:
        """Returns the variance along each slot's gradients, shape (slots,), at least the noise's.

        A unit vector's projection has mean square s^2, whatever it is made of. That a slot adds to
        its own is left in: it only tempers the score.
        """
        for place, dot in enumerate(dots):
            norms = self._clipped_norms(place)
            along = dot[norms > 0] / norms[norms > 0]
            self._squares[place] += along.square().mean() if len(along) else 0.0
        self._steps += 1
        pooled = self._squares.mean() / self._steps
        spread = (self._squares + _PRIOR * pooled) / (self._steps + _PRIOR)
        return spread.clamp(min=self.variance)


PROJECTED = Watching(
    name="projected",
    title="White-box by projections on the real model",
    beside="replays the training step by step; for large models",
    cost=lambda work: looks(work, 2 * _WINDOWS, _NATURAL, _REFRESH),
    watch=ProjectedWhiteBox,
)
