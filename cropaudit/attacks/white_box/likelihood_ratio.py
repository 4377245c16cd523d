"""White-box attack on the real model: every noisy update seen, canaries and images known.

What is hidden is which records each batch held, their windows, and each slot's coin. In a step the
noisy sum is noise plus what the records in the batch add; a slot adds, with probability r = q rho,
the clipped gradient c(w) of its world at a window w that meets the patch, and else nothing, for its
background bears no labels. To one slot all the rest is Gaussian clutter, of covariance
S = s^2 C^2 I + sum_j r_j E[c_j c_j'] + q sum_k g_k g_k' over the other slots j (coin and window
averaged out) and the natural images k. With z = c' S^-1 y and v = c' S^-1 c the likelihood of a
world is 1 - r + r mean_w exp(z - v/2); the score is the log-likelihood ratio of A to B, summed over
the steps. Its approximations (few windows, Gaussian clutter, gradients taken anew only every few
steps) cost power, never validity: a score may be anything.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cropaudit.accounting.geometry.shapes import Crop
from cropaudit.attacks.base import AttackedRun, Watching, looks
from cropaudit.attacks.white_box.double_sums import inner, require_digits, solve_error
from cropaudit.training.canaries import CanarySlot, filled
from cropaudit.training.canaries.crafting import flat_gradients
from cropaudit.training.canaries.windows import windows_of
from cropaudit.training.crops.cutting import cut_window, random_crop
from cropaudit.training.crops.joint import Window
from cropaudit.training.dpsgd.loop import StepView

__all__ = ["WHITE_BOX", "Clutter", "WhiteBox", "covering_window", "slot_crops"]

_MODEL_ERROR = 0.2  # of C: what drift and the few windows tried leave unexplained in a direction
_WINDOWS, _REFRESH = 2, 5
_CHUNK = 32  # crops differentiated at once, fewer for a large model
_CHUNK_ENTRIES = 200_000_000
_NATURAL = 48  # natural crops that stand for all of them in the covariance
_RARE = 1e-30  # the least share of a slot: a root of 0 could not be divided by
_ENTRIES = 150_000_000  # of the gradient table; larger models keep their last coordinates only


class WhiteBox:
    """Watches a run and scores its slots; pass it as the observer of `train`."""

    def __init__(
        self, run: AttackedRun, seed: int, *, windows: int = _WINDOWS, refresh: int = _REFRESH
    ) -> None:
        """Prepares to watch.

        Args:
            run: What is attacked.
            seed: Of the windows that the adversary tries.
            windows: Windows tried for each slot and world. They cover the patch: the gradients of
                windows that graze it scatter around those of windows that cover it.
            refresh: Gradients are taken anew every so many steps; in between they drift little.
        """
        self.run, self.max_grad_norm = run, run.spec.max_grad_norm
        self.deviation = math.hypot(run.spec.noise_multiplier, _MODEL_ERROR) * self.max_grad_norm
        self.windows, self.refresh = windows, refresh
        self.generator = torch.Generator().manual_seed(seed)
        # A record that bears labels around its slots is a natural one where a window misses them.
        bearing = {slot.record for slot in run.slots if slot.miss_gradient is not None}
        self.natural = [i for i in range(len(run.data)) if i not in bearing]
        shares = [run.sample_rate * run.shown(slot.inclusion) for slot in run.slots]
        self.rates = torch.tensor(shares).double()
        self.loudness = torch.tensor([run.loudness(slot.inclusion) for slot in run.slots])
        self.total = torch.zeros(len(run.slots), dtype=torch.float64)
        self._clutter: Clutter | None = None

    def __call__(self, view: StepView) -> None:
        """Adds one step's log-likelihood ratios."""
        if self._clutter is None or view.step % self.refresh == 0:
            self._clutter = self._look(view.model)
        self.total += self._clutter.log_ratio(view.noisy_sum.cpu())

    def scores(self) -> NDArray[np.float64]:
        """Returns the sum of all steps so far, shape (slots,); high means world A."""
        return np.asarray(self.total.numpy()).copy()

    def _look(self, model: nn.Module) -> "Clutter":
        """Takes the gradients of every slot in both worlds, and of some natural images."""
        tried = [slot_crops(self.run, self.generator) for _ in range(self.windows)]
        images, masks = (torch.cat(parts) for parts in zip(*tried, strict=True))
        count = len(self.run.slots)
        flat = self._clipped(model, images, masks)
        # (windows, worlds, slots, P) to (slots, worlds, windows, P)
        slots = flat.reshape(self.windows, 2, count, -1).permute(2, 1, 0, 3)
        return Clutter(
            slots * self.loudness[:, None, None, None],
            self._clipped(model, *self._natural_crops()),
            self.rates,
            self.run.sample_rate * len(self.natural) * self.run.apart,
            self.deviation,
        )

    def _natural_crops(self) -> tuple[Tensor, Tensor]:
        data, natural = self.run.data, self.natural or range(len(self.run.data))
        picks = torch.randint(len(natural), (_NATURAL,), generator=self.generator).tolist()
        shown = [
            random_crop(data.images[i], data.masks[i], self.run.crop, self.generator)
            for i in (natural[pick] for pick in picks)  # where none are expected any will do
        ]
        return torch.stack([item[0] for item in shown]), torch.stack([item[1] for item in shown])

    def _clipped(self, model: nn.Module, images: Tensor, masks: Tensor) -> Tensor:
        """Returns clipped per-sample gradients, shape (B, P), the last coordinates if P is huge."""
        gradients = flat_gradients(model)
        keep = _ENTRIES // (2 * self.windows * len(self.run.slots) + _NATURAL)
        size = sum(p.numel() for p in model.parameters() if p.requires_grad)
        chunk = max(1, min(_CHUNK, _CHUNK_ENTRIES // size))
        parts = []
        for start in range(0, len(images), chunk):
            flat = gradients(images[start : start + chunk], masks[start : start + chunk])
            factor = (self.max_grad_norm / flat.norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)
            parts.append((flat[:, -keep:] * factor[:, None]).cpu())
        return torch.cat(parts)


class Clutter:
    """What all the others add, as one slot sees it: a covariance, factored once per look."""

    def __init__(
        self, slots: Tensor, natural: Tensor, rates: Tensor, expected: float, deviation: float
    ) -> None:
        """Factors the covariance.

        Args:
            slots: Clipped gradients, shape (slots, 2, windows, P); world A first.
            natural: Clipped gradients of natural images, shape (n, P).
            rates: r of each slot, shape (slots,), float64.
            expected: Natural images expected in a batch.
            deviation: Noise deviation s C, above 0.

        Raises:
            InputError: If so little noise beside so large gradients leaves a score no digits.
        """
        count, _, windows, size = slots.shape
        self.rates, self.windows, self.own = rates, windows, (count, 2 * windows)
        self.rows = torch.cat([slots.reshape(-1, size), natural])
        self.mean = natural.double().mean(dim=0) * expected
        # Columns of a root of the covariance: coins and windows are averaged out.
        self.share = (rates / (2 * windows)).clamp(min=_RARE).repeat_interleave(2 * windows)
        others = torch.full((len(natural),), expected / len(natural), dtype=torch.float64)
        self.roots = torch.cat([self.share, others]).sqrt()
        gram = inner(self.rows, self.rows) * self.roots[:, None] * self.roots
        error = solve_error(gram, deviation**2, size)
        require_digits(error, "the white-box score", f"noise of more than {deviation:.1g} has them")
        identity = torch.eye(len(gram), dtype=torch.float64)
        self.factor = torch.linalg.cholesky(gram + deviation**2 * identity)
        self._leave_one_out(gram, deviation**2)

    def _leave_one_out(self, gram: Tensor, variance: float) -> None:
        """Takes each slot's own term out of the covariance again.

        Let B hold the columns as rows, scaled by their roots, and K = (B B' + v I)^-1. Then
        B S^-1 = K B and B S^-1 B' = K B B' = I - v K, so that Woodbury's formula for a slot's own
        block i is B_i S_-i^-1 = (v K_ii)^-1 (K B)_i: nothing that nearly cancels is subtracted
        (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 5.4.2).
        """
        explained = self._blocks(torch.cholesky_solve(gram, self.factor))
        left = self._blocks(torch.cholesky_inverse(self.factor)) * variance
        self.without = torch.linalg.inv(left)
        strength = (self.without @ explained).diagonal(dim1=1, dim2=2)
        self.strength = strength / self.share.reshape(self.own)

    def _blocks(self, matrix: Tensor) -> Tensor:
        """Returns every slot's own block on the diagonal, shape (slots, width, width)."""
        count, width = self.own
        split = matrix[: count * width, : count * width].reshape(count, width, count, width)
        return split.diagonal(dim1=0, dim2=2).permute(2, 0, 1)

    def log_ratio(self, noisy_sum: Tensor) -> Tensor:
        """Returns every slot's log-likelihood ratio of A to B in one step, shape (slots,)."""
        seen = noisy_sum[-self.rows.shape[1] :].double() - self.mean
        dots = inner(self.rows, seen[None]) * self.roots[:, None]
        solved = torch.cholesky_solve(dots, self.factor)[: len(self.share)]
        projected = (self.without @ solved.reshape(*self.own, 1))[:, :, 0]
        projected = projected / self.share.sqrt().reshape(self.own)
        exponents = (projected - self.strength / 2).reshape(-1, 2, self.windows)
        hit = torch.logsumexp(exponents, dim=2) + torch.log(self.rates / self.windows)[:, None]
        world = torch.logaddexp(torch.log1p(-self.rates)[:, None], hit)
        return world[:, 0] - world[:, 1]


def covering_window(slot: CanarySlot, run: AttackedRun, generator: torch.Generator) -> Window:
    """Draws a window that covers the slot's patch, as far as the crop allows."""
    size, crop = run.data.size(slot.record), run.crop
    if not isinstance(crop, Crop):
        law = windows_of(slot, run.data.masks[slot.record], crop)
        stream = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        return law.draw(law.covers(), 1, stream)[0]
    origins, border = crop.origins(size), crop.borders(size)
    height, width = slot.pixels.shape
    top = _covering(slot.position[0] + border.top, height, crop.size.height, origins.height)
    left = _covering(slot.position[1] + border.left, width, crop.size.width, origins.width)
    row = int(torch.randint(top[0], top[1] + 1, (1,), generator=generator))
    column = int(torch.randint(left[0], left[1] + 1, (1,), generator=generator))
    return Window(row, column)


def slot_crops(run: AttackedRun, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cuts every slot, in both worlds, at one window that covers its patch.

    Returns:
        Images (2 * slots, 3, h, w) and masks (2 * slots, h, w): all of world A, then all of B.
    """
    windows = [covering_window(slot, run, generator) for slot in run.slots]
    shown = [
        cut_window(*filled(run.data, slot, world_a=world_a), window, run.crop)
        for world_a in (True, False)
        for slot, window in zip(run.slots, windows, strict=True)
    ]
    images, masks = (torch.stack(parts) for parts in zip(*shown, strict=True))
    return images, masks


def _covering(start: int, length: int, window: int, origins: int) -> tuple[int, int]:
    """Returns the first and last origin that covers [start, start + length), or comes nearest."""
    first, last = max(0, start + length - window), min(origins - 1, start)
    if first <= last:
        return first, last
    nearest = min(max(start, 0), origins - 1)
    return nearest, nearest


WHITE_BOX = Watching(
    name="white-box",
    title="White-box on the real model",
    beside="replays the training step by step; holds all canaries' gradients",
    cost=lambda work: looks(work, 2 * _WINDOWS, _NATURAL, _REFRESH),
    watch=WhiteBox,
)
