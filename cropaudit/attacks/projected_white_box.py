"""White-box attack on a large model: the likelihood ratio from projections, never gradients.

To one slot, a step's noisy sum y is noise, what the other records add (the background), and, with
probability q, its own clipped gradient c(w) at a window w of the crop's law. With y' = y less what
is known of the background, and s^2 the variance of what is left along a unit vector, the likelihood
of a world, relative to the slot's absence, is

    1 - q + q (1 - rho) mean_miss[e(w)] + q rho mean_hit[e(w)],   e(w) = exp((c.y' - |c|^2/2) / s^2)

where batch and window are averaged out; windows that miss the patch give e = 1 where the record
bears no labels outside it. The score is the log-likelihood ratio of world A to B, summed over the
steps. All c.y' come from one forward-mode pass, and |c| from ghost norms every ``refresh`` steps
(see `projections`). Few windows and norms that are some steps old cost power, never validity.
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
from cropaudit.attacks.projections import Projector, clip_factors
from cropaudit.attacks.slot_views import (
    background_crops,
    in_groups,
    log_worlds,
    slot_views,
)
from cropaudit.errors import require
from cropaudit.training.canaries.slots import CanarySlot
from cropaudit.training.crops import cut
from cropaudit.training.data import SegmentationData
from cropaudit.training.dpsgd import StepView
from cropaudit.training.losses import prepare
from cropaudit.training.samplers import Poisson, Sampling, expected_batch

__all__ = ["Adversary", "KnownBackground", "ProjectedWhiteBox", "UnknownBackground"]

_PRIOR = 10  # steps' weight of all slots' mean variance in that of each
_PASSES = 10  # roundings of a projection in float32, through all layers, in units of one


@dataclass(frozen=True)
class UnknownBackground:
    """Knows the images, but neither batches, windows nor the coins of the other slots.

    What the others add is reduced by its mean; its variance is that of the projections so far.

    Attributes:
        natural: Crops from which the mean is estimated, anew at every refresh.
    """

    natural: int = 48

    def __post_init__(self) -> None:
        require(self.natural >= 1, "natural crops", "at least 1", self.natural)


@dataclass(frozen=True, eq=False)
class KnownBackground:
    """Knows all the others: their contents, and when and with which window each took part.

    Under Poisson sampling that says nothing of the slot itself. Under any other sampling it tells
    whether the slot was in the batch, so there it is refused. Each slot's score then knows the
    coins of all others: it may stand for one slot of many runs, but the scores of several slots of
    one run are not for one-run estimators, whose guesses may depend on what the run shows alone.

    Attributes:
        data: The data that are trained on, every slot filled.
    """

    data: SegmentationData


Adversary = UnknownBackground | KnownBackground


class ProjectedWhiteBox:
    """Watches a run and scores its slots; pass it as the observer of `train`."""

    def __init__(
        self,
        data: SegmentationData,
        slots: Sequence[CanarySlot],
        crop: Crop,
        *,
        sampling: Sampling,
        noise_multiplier: float,
        max_grad_norm: float,
        seed: int,
        adversary: Adversary = UnknownBackground(),
        windows: int = 8,
        refresh: int = 5,
        model_error: float = 0.1,
        chunk: int | None = None,
    ) -> None:
        """Prepares to watch.

        Args:
            data: The records with slots empty.
            slots: The canaries.
            crop: The crop of the run, one an image.
            sampling: Of the run.
            noise_multiplier: Of the run, in units of the clip.
            max_grad_norm: C.
            seed: Of the windows that are tried.
            adversary: What is known of the other records.
            windows: Windows tried for each slot and world.
            refresh: Norms, and the mean of the background, are taken anew every so many steps.
            model_error: In units of C: what the few windows leave unexplained, beside the noise.
            chunk: Crops differentiated at once; see `Projector`.

        Raises:
            InputError: If an argument is out of its range, or a known background meets a sampling
                other than Poisson's.
        """
        require(refresh >= 1, "refresh", "at least 1", refresh)
        require(model_error > 0, "model_error", "above 0", model_error)
        known = isinstance(adversary, KnownBackground)
        legal = "Poisson for an adversary who knows the background"
        require(not known or isinstance(sampling, Poisson), "sampling", legal, sampling)
        self.data, self.crop, self.adversary = data, crop, adversary
        self.views = slot_views(data, slots, crop, windows, seed)
        self.rate = expected_batch(sampling, len(data)) / len(data)
        self.variance = (math.hypot(noise_multiplier, model_error) * max_grad_norm) ** 2
        self.max_grad_norm, self.refresh, self.chunk = max_grad_norm, refresh, chunk
        self.generator = torch.Generator().manual_seed(seed)
        self.total = torch.zeros(len(slots), dtype=torch.float64)
        self._norms: list[Tensor] | None = None
        self._mean: Tensor | None = None
        self._squares = torch.zeros(len(slots), dtype=torch.float64)
        self._steps = 0
        self._projector: Projector | None = None

    def __call__(self, view: StepView) -> None:
        """Adds one step's log-likelihood ratios."""
        projector = self._of(view.model)
        fresh = self._norms is None or view.step % self.refresh == 0
        match self.adversary:
            case KnownBackground(data):
                seen = view.noisy_sum - self._batch_sum(projector, data, view)
                dots = self._look(projector, data, seen, fresh)
                self._own(projector, data, view, dots)
                variances = torch.full_like(self.total, self.variance)
            case UnknownBackground(natural):
                if fresh or self._mean is None:
                    self._mean = self._background(projector, natural)
                dots = self._look(projector, self.data, view.noisy_sum - self._mean, fresh)
                variances = self._spread(dots)
        for place, views in enumerate(self.views):
            norms = self._clipped_norms(place)
            exponents = (dots[place] - norms.square() / 2) / variances[place]
            a, b = log_worlds(exponents, views, self.rate)
            self.total[place] += a - b

    def scores(self) -> NDArray[np.float64]:
        """Returns the sum of all steps so far, shape (slots,); high means world A."""
        return np.asarray(self.total.numpy()).copy()

    def _of(self, model: nn.Module) -> Projector:
        if self._projector is None or self._projector.model is not model:
            self._projector = Projector(model, max_grad_norm=self.max_grad_norm, chunk=self.chunk)
        return self._projector

    def _look(
        self, projector: Projector, data: SegmentationData, seen: Tensor, fresh: bool
    ) -> list[Tensor]:
        """Returns every slot's clipped projections, and takes the norms where they are due.

        Raises:
            InputError: If float32 cannot hold them beside so little noise.
        """
        rounding = _PASSES * FLOAT32 * float(seen.norm())
        cure = "more noise, or a larger model_error, has them"
        deviation = math.sqrt(self.variance)
        rounding_beside_noise(rounding, deviation, "the projected white-box score", cure)
        dots: list[Tensor] = []
        norms: list[Tensor] = []
        for group in in_groups(self.views):
            cuts = [views.crops(data, self.crop) for views in group]
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
        return clip_factors(self._norms[place], self.max_grad_norm)

    def _clipped_norms(self, place: int) -> Tensor:
        assert self._norms is not None
        return self._norms[place].clamp(max=self.max_grad_norm)

    def _background(self, projector: Projector, natural: int) -> Tensor:
        """Returns what all records are expected to add, their slots empty, shape (P,)."""
        images, masks, share = background_crops(self.data, self.crop, natural, self.generator)
        return projector.clipped_sum(images, masks) * (self.rate * share)

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

    def _batch_sum(self, projector: Projector, data: SegmentationData, view: StepView) -> Tensor:
        """Returns the batch's clipped sum without noise, shape (P,)."""
        same = len(view.windows) == len(view.indices)
        require(same, "crops an image", "1 for a known background", len(view.windows))
        if not view.indices:
            return torch.zeros_like(view.noisy_sum, dtype=torch.float64)
        return projector.clipped_sum(*self._records(data, view, range(len(view.indices))))

    def _records(
        self, data: SegmentationData, view: StepView, places: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        shown = [
            cut(
                data.images[view.indices[i]],
                data.masks[view.indices[i]],
                view.windows[i],
                self.crop,
            )
            for i in places
        ]
        images, masks = (torch.stack(part) for part in zip(*shown, strict=True))
        return prepare(images), masks

    def _own(
        self, projector: Projector, data: SegmentationData, view: StepView, dots: list[Tensor]
    ) -> None:
        """Gives the slots in the batch their own gradient back, which is what each is to find."""
        places = {record: place for place, record in enumerate(view.indices)}
        for number, views in enumerate(self.views):
            place = places.get(views.slot.record)
            if place is None:
                continue
            own = projector.clipped_sum(*self._records(data, view, [place]))
            if own.any():
                crops = views.crops(data, self.crop)
                dots[number] += projector.dots(*crops, own) * self._factors(number)
