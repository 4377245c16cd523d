"""White-box scores of a two-world game: many runs, half of them with content A in one patch.

The adversary knows every image and both contents, all but the coin, and sees every noisy update. In
a step of world W the target adds, with probability q, the clipped gradient c_W(w) of a random
window w, and the likelihood of W is

    1 - q + q ((1 - rho) mean_miss exp(l(c)) + rho mean_hit exp(l(c_W))),
    l(c) = c' S^-1 y - c' S^-1 c / 2,

over what is left of the noisy sum, y. The score is the log-likelihood ratio of A to B, summed over
the steps. What y and S are, is the adversary's knowledge:

* `KnownBackground`: which other records each batch held, and their windows. They are taken off, and
  noise alone is left: S = (sigma C)^2 I. Under Poisson sampling the others say nothing about the
  target, so this lies within the claim; under other samplers their number gives it away.
* `UnknownBackground`: the images alone. Their mean is taken off, and their scatter counts as noise.

Means over windows are over a few, one from each of equally likely strata, drawn anew in each look.
All approximations cost power, never validity: a score may be anything.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropaudit.accounting.geometry import Crop
from cropaudit.attacks.double_sums import (
    FLOAT32,
    inner,
    require_digits,
    rounding_beside_noise,
    solve_error,
    squares,
)
from cropaudit.attacks.strata import StratifiedWindows
from cropaudit.errors import require
from cropaudit.training.canaries import CanarySlot, filled
from cropaudit.training.canaries.windows import windows_of
from cropaudit.training.crops import JointRandomCrop, cut
from cropaudit.training.data import SegmentationData
from cropaudit.training.ensemble import EnsembleStep
from cropaudit.training.stacked import StackedModels

__all__ = ["Adversary", "KnownBackground", "Looks", "Target", "TwoWorldScorer", "UnknownBackground"]

_LEAST = 0.05  # of C: a deviation below it would make a score of rounding errors
_MEMBERS = 64  # whose gradients are taken at once
_SCORE, _CURE = "the two-world score", "a smaller batch, or more noise, has them"


@dataclass(frozen=True)
class KnownBackground:
    """Knows the other records of every batch and their windows."""


@dataclass(frozen=True)
class UnknownBackground:
    """Knows the images only.

    Attributes:
        crops: Natural crops that stand for all of them.
    """

    crops: int = 12


Adversary = KnownBackground | UnknownBackground


@dataclass(frozen=True)
class Looks:
    """How closely the adversary looks; more costs time and gains power.

    Attributes:
        hits: Windows that meet the patch, tried for each world.
        misses: Windows that miss it; none are needed where those give no gradient.
        refresh: Gradients are taken anew every so many steps.
    """

    hits: int = 4
    misses: int = 2
    refresh: int = 1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            require(value >= 1, name, "at least 1", value)


@dataclass(frozen=True, eq=False)
class Target:
    """What is played for, and the mechanism around it.

    Attributes:
        data: The records, the slot empty.
        slot: Where the worlds differ.
        crop: The crop of training.
        sample_rate: q.
        max_grad_norm: C.
    """

    data: SegmentationData
    slot: CanarySlot
    crop: Crop
    sample_rate: float
    max_grad_norm: float


class TwoWorldScorer:
    """Watches an ensemble and scores its members; pass it as the observer of `train_ensemble`."""

    def __init__(
        self,
        models: StackedModels,
        target: Target,
        deviations: Sequence[float],
        seed: int,
        *,
        adversary: Adversary | None = None,
        looks: Looks | None = None,
    ) -> None:
        """Prepares to watch.

        Args:
            models: The architecture.
            target: What is played for.
            deviations: Noise that the adversary expects, in units of C; one score for each.
            seed: Of the windows that are tried.
            adversary: `KnownBackground` unless given.
            looks: How closely it looks.
        """
        self.models, self.target = models, target
        self.adversary = adversary or KnownBackground()
        self.looks = looks or Looks()
        self.generator = np.random.default_rng(seed)
        law = windows_of(target.slot, target.data.masks[target.slot.record], target.crop)
        self.hit = StratifiedWindows(law, law.hits(), self.looks.hits)
        # Windows without a labelled pixel give exactly nothing: no need to look.
        misses = 0 if target.slot.miss_gradient == 0 else self.looks.misses
        self.miss = StratifiedWindows(law, law.misses(), misses)
        self.variances = [(max(s, _LEAST) * target.max_grad_norm) ** 2 for s in deviations]
        self._worlds = [filled(target.data, target.slot, world_a=world) for world in (True, False)]
        self._total: Tensor | None = None

    def __call__(self, view: EnsembleStep) -> None:
        """Adds one step's log-likelihood ratios."""
        if view.step % self.looks.refresh == 0:
            self._own = self._gradients(view.parameters, *self._own_crops())
            self._others = self._natural(view.parameters)
        seen = self._seen(view)
        self._require_digits(view)
        dots, lengths = inner(self._own, seen[:, None])[:, :, 0], squares(self._own)
        ratios = torch.stack(
            [self._log_ratio(*self._within(dots, lengths, seen, v)) for v in self.variances]
        )
        self._total = ratios if self._total is None else self._total + ratios

    def scores(self) -> NDArray[np.float64]:
        """Returns the sums of all steps so far, shape (deviations, members); high means world A."""
        require(self._total is not None, "steps", "at least one", 0)
        assert self._total is not None
        return np.asarray(self._total.cpu().numpy())

    def _own_crops(self) -> tuple[Tensor, Tensor]:
        """Cuts the target: hits in world A, the same in B, and misses, alike in both."""
        hits, misses = self.hit.draw(self.generator), self.miss.draw(self.generator)
        crop = self.target.crop
        cuts = [cut(*self._worlds[0], window, crop) for window in hits]
        cuts += [cut(*self._worlds[1], window, crop) for window in (*hits, *misses)]
        images, masks = zip(*cuts, strict=True)
        return torch.stack(images), torch.stack(masks)

    def _gradients(self, parameters: Tensor, images: Tensor, masks: Tensor) -> Tensor:
        """Returns clipped gradients of all crops at all members, shape (M, n, P)."""
        parts = []
        for part in torch.split(parameters, _MEMBERS):
            count = len(part)
            found = self.models.clipped(
                part.repeat_interleave(len(images), dim=0),
                images.repeat(count, 1, 1, 1),
                masks.repeat(count, 1, 1),
                self.target.max_grad_norm,
            )
            parts.append(found.reshape(count, len(images), -1))
        return torch.cat(parts)

    def _natural(self, parameters: Tensor) -> Tensor | None:
        """Returns clipped gradients of some natural crops, shape (M, n, P), if they are needed."""
        if isinstance(self.adversary, KnownBackground):
            return None
        data, cuts = self.target.data, JointRandomCrop(self.target.crop)
        others = [i for i in range(len(data)) if i != self.target.slot.record]
        stream = torch.Generator().manual_seed(int(self.generator.integers(2**62)))
        picks = self.generator.choice(others, self.adversary.crops)
        shown = [cuts(data.images[i], data.masks[i], stream)[:2] for i in picks]
        images, masks = zip(*shown, strict=True)
        return self._gradients(parameters, torch.stack(images), torch.stack(masks))

    def _seen(self, view: EnsembleStep) -> Tensor:
        """Returns what the adversary cannot explain by other records, shape (M, P), float64."""
        seen = view.noisy_sum.double()
        if self._others is None:
            rest = view.record != self.target.slot.record
            others = view.clipped[rest].double()
            return seen.index_add_(0, view.member[rest], others, alpha=-1.0)
        return seen - self._others.double().mean(dim=1) * self._expected()

    def _require_digits(self, view: EnsembleStep) -> None:
        """Holds the rounding of the noisy sum, a float32, against the least noise expected.

        It is a sum of so many terms, each of whose roundings is at most that of the sum: as random
        numbers, they grow by the root of their number.
        """
        terms = 1 + len(view.record) / len(view.noisy_sum)
        largest = math.sqrt(float(squares(view.noisy_sum).max()))
        rounding = FLOAT32 * math.sqrt(terms) * largest
        rounding_beside_noise(rounding, math.sqrt(min(self.variances)), _SCORE, _CURE)

    def _expected(self) -> float:
        return self.target.sample_rate * (len(self.target.data) - 1)

    def _within(
        self, dots: Tensor, lengths: Tensor, seen: Tensor, variance: float
    ) -> tuple[Tensor, Tensor]:
        """Returns c' S^-1 y and c' S^-1 c of each crop, shape (M, n), by Woodbury's formula."""
        if self._others is None:
            return dots / variance, lengths / variance
        share = self._expected() / self._others.shape[1]
        gram = inner(self._others, self._others) * share
        # What is subtracted below is at most C^2, and what is left counts in units of the variance.
        worst = self.target.max_grad_norm**2 / variance
        error = solve_error(gram, variance, self.models.size) * max(1.0, worst)
        require_digits(error, _SCORE, _CURE)
        eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        factor = torch.linalg.cholesky(gram + variance * eye)
        across = inner(self._others, self._own) * math.sqrt(share)
        solved = torch.cholesky_solve(across, factor)
        along = inner(self._others, seen[:, None]) * math.sqrt(share)
        dots = dots - (solved.mT @ along)[:, :, 0]
        return dots / variance, (lengths - (solved * across).sum(dim=1)) / variance

    def _log_ratio(self, dots: Tensor, lengths: Tensor) -> Tensor:
        """Returns the log-likelihood ratio of A to B of one step, shape (M,)."""
        count = self.hit.strata
        logs = dots - lengths / 2
        absent = self._absent(logs[:, 2 * count :])
        share = math.log(self.target.sample_rate * self.hit.probability / count)
        a, b = (
            torch.logaddexp(absent, logs[:, part].logsumexp(dim=1) + share)
            for part in (slice(count), slice(count, 2 * count))
        )
        return a - b

    def _absent(self, misses: Tensor) -> Tensor:
        """Returns the log-likelihood of a step that does not show the patch, shape (M,)."""
        q, missing = self.target.sample_rate, self.miss.probability
        out = misses.new_full((len(misses),), math.log1p(-q) if q < 1 else -math.inf)
        if missing <= 0:
            return out
        share = math.log(q * missing / max(misses.shape[1], 1))
        inside = misses.logsumexp(dim=1) if misses.shape[1] else misses.new_zeros(len(misses))
        return torch.logaddexp(out, inside + share)
