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
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from cropaudit.accounting.geometry import Crop
from cropaudit.attacks.double_sums import inner, require_digits, solve_error
from cropaudit.training.canaries import CanarySlot, filled
from cropaudit.training.crops import JointRandomCrop, Window, cut
from cropaudit.training.data import SegmentationData
from cropaudit.training.dpsgd import StepView
from cropaudit.training.losses import pixel_losses, prepare

__all__ = ["Clutter", "WhiteBox", "meeting_window", "slot_crops"]

_MODEL_ERROR = 0.2  # of C: what drift and the few windows tried leave unexplained in a direction
_CHUNK = 32  # crops differentiated at once, fewer for a large model
_CHUNK_ENTRIES = 200_000_000
_NATURAL = 48  # natural crops that stand for all of them in the covariance
_RARE = 1e-30  # the least share of a slot: a root of 0 could not be divided by
_ENTRIES = 150_000_000  # of the gradient table; larger models keep their last coordinates only


class WhiteBox:
    """Watches a run and scores its slots; pass it as the observer of `train`."""

    def __init__(
        self,
        data: SegmentationData,
        slots: Sequence[CanarySlot],
        crop: Crop,
        *,
        sample_rate: float,
        noise_multiplier: float,
        max_grad_norm: float,
        seed: int,
        windows: int = 2,
        refresh: int = 5,
    ) -> None:
        """Prepares to watch.

        Args:
            data: The records with slots empty (their masks all `IGNORE`).
            slots: The canaries.
            crop: The crop of the run.
            sample_rate: q.
            noise_multiplier: Of the run, in units of the clip.
            max_grad_norm: C.
            seed: Of the windows that the adversary tries.
            windows: Windows tried for each slot and world. They cover the patch: the gradients of
                windows that graze it scatter around those of windows that cover it.
            refresh: Gradients are taken anew every so many steps; in between they drift little.
        """
        self.data, self.slots, self.crop = data, slots, crop
        self.sample_rate = sample_rate
        self.deviation = math.hypot(noise_multiplier, _MODEL_ERROR) * max_grad_norm
        self.max_grad_norm = max_grad_norm
        self.windows, self.refresh = windows, refresh
        self.generator = torch.Generator().manual_seed(seed)
        # A record that bears labels around its slots is a natural one where a window misses them.
        bearing = {slot.record for slot in slots if slot.miss_gradient is not None}
        self.natural = [i for i in range(len(data)) if i not in bearing]
        self.rates = torch.tensor([sample_rate * slot.inclusion for slot in slots]).double()
        self.total = torch.zeros(len(slots), dtype=torch.float64)
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
        looks = [
            slot_crops(self.data, self.slots, self.crop, self.generator, covering=True)
            for _ in range(self.windows)
        ]
        images, masks = (torch.cat(parts) for parts in zip(*looks, strict=True))
        count = len(self.slots)
        flat = self._clipped(model, images, masks)
        # (windows, worlds, slots, P) to (slots, worlds, windows, P)
        slots = flat.reshape(self.windows, 2, count, -1).permute(2, 1, 0, 3)
        return Clutter(
            slots,
            self._clipped(model, *self._natural_crops()),
            self.rates,
            self.sample_rate * len(self.natural),
            self.deviation,
        )

    def _natural_crops(self) -> tuple[Tensor, Tensor]:
        natural = self.natural or range(len(self.data))  # none are expected: any will do
        picks = torch.randint(len(natural), (_NATURAL,), generator=self.generator).tolist()
        cuts = JointRandomCrop(self.crop)
        shown = [
            cuts(self.data.images[i], self.data.masks[i], self.generator)
            for i in (natural[pick] for pick in picks)
        ]
        return torch.stack([item[0] for item in shown]), torch.stack([item[1] for item in shown])

    def _clipped(self, model: nn.Module, images: Tensor, masks: Tensor) -> Tensor:
        """Returns clipped per-sample gradients, shape (B, P), the last coordinates if P is huge."""
        device = next(model.parameters()).device
        trainable = {k: p.detach() for k, p in model.named_parameters() if p.requires_grad}
        frozen = {k: p.detach() for k, p in model.named_parameters() if not p.requires_grad}

        def loss(parameters: dict[str, Tensor], image: Tensor, mask: Tensor) -> Tensor:
            logits = functional_call(model, {**parameters, **frozen}, (image[None],))
            return pixel_losses(logits, mask[None])[0]

        each = vmap(grad(loss), in_dims=(None, 0, 0))
        keep = _ENTRIES // (2 * self.windows * len(self.slots) + _NATURAL)
        size = sum(parameter.numel() for parameter in trainable.values())
        chunk = max(1, min(_CHUNK, _CHUNK_ENTRIES // size))
        parts = []
        for start in range(0, len(images), chunk):
            piece = slice(start, start + chunk)
            pixels = prepare(images[piece].to(device))
            gradients = each(trainable, pixels, masks[piece].to(device))
            flat = torch.cat([gradients[name].flatten(1) for name in trainable], dim=1)
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


def meeting_window(
    slot: CanarySlot,
    data: SegmentationData,
    crop: Crop,
    generator: torch.Generator,
    *,
    covering: bool,
) -> Window:
    """Draws a window that meets the slot's patch.

    Args:
        slot: The canary.
        data: Its data set.
        crop: The crop.
        generator: Of the draw.
        covering: Whether the window is to cover the patch, as far as the crop allows; else it is
            uniform over those that meet the patch's bounding box.
    """
    size = data.size(slot.record)
    origins, border = crop.origins(size), crop.borders(size)
    height, width = slot.pixels.shape
    range_of = _covering if covering else _meeting
    top = range_of(slot.position[0] + border.top, height, crop.size.height, origins.height)
    left = range_of(slot.position[1] + border.left, width, crop.size.width, origins.width)
    row = int(torch.randint(top[0], top[1] + 1, (1,), generator=generator))
    column = int(torch.randint(left[0], left[1] + 1, (1,), generator=generator))
    return Window(row, column)


def slot_crops(
    data: SegmentationData,
    slots: Sequence[CanarySlot],
    crop: Crop,
    generator: torch.Generator,
    *,
    covering: bool,
) -> tuple[Tensor, Tensor]:
    """Cuts every slot, in both worlds, at one window that meets its patch; see `meeting_window`.

    Returns:
        Images (2 * slots, 3, h, w) and masks (2 * slots, h, w): all of world A, then all of B.
    """
    images: list[Tensor] = []
    masks: list[Tensor] = []
    windows = [meeting_window(slot, data, crop, generator, covering=covering) for slot in slots]
    for world_a in (True, False):
        for slot, window in zip(slots, windows, strict=True):
            pixels, labels = cut(*filled(data, slot, world_a=world_a), window, crop)
            images.append(pixels)
            masks.append(labels)
    return torch.stack(images), torch.stack(masks)


def _meeting(start: int, length: int, window: int, origins: int) -> tuple[int, int]:
    """Returns the first and last origin whose window meets [start, start + length)."""
    return max(0, start - window + 1), min(origins - 1, start + length - 1)


def _covering(start: int, length: int, window: int, origins: int) -> tuple[int, int]:
    """Returns the first and last origin that covers [start, start + length), or comes nearest."""
    first, last = max(0, start + length - window), min(origins - 1, start)
    if first <= last:
        return first, last
    nearest = min(max(start, 0), origins - 1)
    return nearest, nearest
