"""White-box attack on the real model: every noisy update seen, canaries and images known.

What is hidden is which records each batch held, their windows, and each slot's coin. In a step the
noisy sum is noise plus what the records in the batch add. A slot adds +d in world A and -d in world
B, d being half the difference of its two clipped gradients, with probability r = q rho, else nothing
(its background bears no labels). To one slot everything else is Gaussian clutter of covariance
S = s^2 C^2 I + r sum_j d_j d_j' + q sum_k g_k g_k' over the other slots j and natural images k. With
z = d' S^-1 y and v = d' S^-1 d the step's log-likelihood ratio is
ln[1 - r + r exp(z - v/2)] - ln[1 - r + r exp(-z - v/2)], and the score is its sum over the steps.
The approximation costs power, never validity: a score may be anything.
"""

from collections.abc import Sequence

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from cropaudit.accounting.geometry import Crop
from cropaudit.training.canaries import CanarySlot
from cropaudit.training.crops import JointRandomCrop, Window, cut
from cropaudit.training.data import IGNORE, SegmentationData
from cropaudit.training.dpsgd import StepView
from cropaudit.training.losses import pixel_losses, prepare

__all__ = ["WhiteBox", "covering_window", "slot_masks"]

_CHUNK = 32  # crops differentiated at once
_NATURAL = 24  # natural crops that stand for all of them in the covariance
_ENTRIES = 150_000_000  # of the gradient table; larger models keep their last coordinates only


class WhiteBox:
    """Watches a run and scores its slots.

    Attributes:
        refresh: Gradients are taken anew every so many steps; in between they drift little.
    """

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
        refresh: int = 4,
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
            refresh: See above.
        """
        self.data, self.slots, self.crop = data, slots, crop
        self.sample_rate = sample_rate
        self.deviation = max(noise_multiplier, 1e-3) * max_grad_norm
        self.max_grad_norm = max_grad_norm
        self.refresh = refresh
        self.generator = torch.Generator().manual_seed(seed)
        bearing = {slot.record for slot in slots}
        self.natural = [i for i in range(len(data)) if i not in bearing]
        self.rates = torch.tensor([sample_rate * slot.inclusion for slot in slots]).double()
        self.total = torch.zeros(len(slots), dtype=torch.float64)
        self._view: _Clutter | None = None

    def __call__(self, view: StepView) -> None:
        """Adds one step's log-likelihood ratios; pass this object as the observer of a run."""
        if self._view is None or view.step % self.refresh == 0:
            self._view = self._look(view.model)
        seen, strength = self._view.project(view.noisy_sum)
        miss = torch.log1p(-self.rates)
        hit = torch.log(self.rates) - strength / 2
        self.total += torch.logaddexp(miss, hit + seen) - torch.logaddexp(miss, hit - seen)

    def scores(self) -> NDArray:  # type: ignore[type-arg]
        """Returns the sum of all steps so far, shape (slots,), float64; high means world A."""
        return self.total.numpy().copy()

    def _look(self, model: nn.Module) -> "_Clutter":
        """Takes the gradients of both worlds of every slot, and of some natural images."""
        images, masks_a, masks_b = slot_masks(self.data, self.slots, self.crop, self.generator)
        worlds = self._clipped(model, torch.cat([images, images]), torch.cat([masks_a, masks_b]))
        count = len(self.slots)
        half = (worlds[:count] - worlds[count:]) / 2
        picks = torch.randint(len(self.natural), (_NATURAL,), generator=self.generator).tolist()
        cuts = JointRandomCrop(self.crop)
        pairs = [
            cuts(self.data.images[i], self.data.masks[i], self.generator)[:2]
            for i in (self.natural[pick] for pick in picks)
        ]
        natural = self._clipped(
            model, torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])
        )
        expected = self.sample_rate * len(self.natural)
        return _Clutter(half, natural, self.rates, expected, self.deviation)

    def _clipped(self, model: nn.Module, images: Tensor, masks: Tensor) -> Tensor:
        """Returns clipped per-sample gradients, shape (B, P), the last coordinates if P is huge."""
        device = next(model.parameters()).device
        trainable = {k: p.detach() for k, p in model.named_parameters() if p.requires_grad}
        frozen = {k: p.detach() for k, p in model.named_parameters() if not p.requires_grad}

        def loss(parameters: dict[str, Tensor], image: Tensor, mask: Tensor) -> Tensor:
            logits = functional_call(model, {**parameters, **frozen}, (image[None],))
            return pixel_losses(logits, mask[None])[0]

        each = vmap(grad(loss), in_dims=(None, 0, 0))
        keep = _ENTRIES // (2 * len(self.slots) + _NATURAL)
        parts = []
        for start in range(0, len(images), _CHUNK):
            piece = slice(start, start + _CHUNK)
            pixels = prepare(images[piece].to(device))
            gradients = each(trainable, pixels, masks[piece].to(device))
            flat = torch.cat([gradients[name].flatten(1) for name in trainable], dim=1)
            factor = (self.max_grad_norm / flat.norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)
            parts.append((flat[:, -keep:] * factor[:, None]).cpu())
        return torch.cat(parts)


class _Clutter:
    """The covariance that one slot sees, factored once per look."""

    def __init__(
        self, half: Tensor, natural: Tensor, rates: Tensor, expected: float, deviation: float
    ) -> None:
        self.half, self.width = half, half.shape[1]
        self.mean = natural.mean(dim=0) * expected
        self.variance = deviation**2
        weight = (expected / len(natural)) ** 0.5
        self.columns = torch.cat([half * rates.sqrt().float()[:, None], natural * weight])
        gram = (self.columns @ self.columns.T).double()
        identity = torch.eye(len(gram), dtype=torch.float64)
        self.factor = torch.linalg.cholesky(gram + self.variance * identity)
        cross = (self.columns @ half.T).double()
        solved = torch.cholesky_solve(cross, self.factor)
        own = (half * half).sum(dim=1).double()
        full = (own - (cross * solved).sum(dim=0)) / self.variance
        # Leave the slot's own term out again (Sherman and Morrison).
        self.cross, self.share = cross, 1 / (1 - rates * full).clamp(min=1e-6)
        self.strength = full * self.share

    def project(self, noisy_sum: Tensor) -> tuple[Tensor, Tensor]:
        """Returns z and v of every slot."""
        seen = noisy_sum.cpu()[-self.width :] - self.mean
        inner = (self.columns @ seen).double()
        solved = torch.cholesky_solve(inner[:, None], self.factor)[:, 0]
        plain = (self.half @ seen).double()
        full = (plain - self.cross.T @ solved) / self.variance
        return full * self.share, self.strength


def covering_window(
    slot: CanarySlot, data: SegmentationData, crop: Crop, generator: torch.Generator
) -> Window:
    """Draws a window that covers the slot's patch as far as the crop allows."""
    size = data.size(slot.record)
    origins = crop.origins(size)
    height, width = slot.pixels.shape
    top = _covering(slot.position[0] + crop.padding, height, crop.size.height, origins.height)
    left = _covering(slot.position[1] + crop.padding, width, crop.size.width, origins.width)
    row = int(torch.randint(top[0], top[1] + 1, (1,), generator=generator))
    column = int(torch.randint(left[0], left[1] + 1, (1,), generator=generator))
    return Window(row, column)


def slot_masks(
    data: SegmentationData, slots: Sequence[CanarySlot], crop: Crop, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Cuts every slot at a covering window.

    Returns:
        Images (slots, 3, h, w), and masks of world A and of world B (slots, h, w).
    """
    images: list[Tensor] = []
    masks_a: list[Tensor] = []
    masks_b: list[Tensor] = []
    for slot in slots:
        window = covering_window(slot, data, crop, generator)
        image = data.images[slot.record].clone()
        row, column = slot.position
        height, width = slot.pixels.shape
        box = (slice(row, row + height), slice(column, column + width))
        image[:, *box] = torch.where(slot.pixels, slot.texture, image[:, *box])
        empty = torch.full(image.shape[1:], IGNORE, dtype=torch.uint8)
        for labels, masks in ((slot.labels_a, masks_a), (slot.labels_b, masks_b)):
            mask = empty.clone()
            mask[box] = torch.where(slot.pixels, labels, mask[box])
            pixels, shown = cut(image, mask, window, crop)
            masks.append(shown)
        images.append(pixels)
    return torch.stack(images), torch.stack(masks_a), torch.stack(masks_b)


def _covering(start: int, length: int, window: int, origins: int) -> tuple[int, int]:
    """Returns the first and last origin that covers [start, start + length), or comes nearest."""
    first, last = max(0, start + length - window), min(origins - 1, start)
    if first <= last:
        return first, last
    nearest = min(max(start, 0), origins - 1)
    return nearest, nearest
