"""Sums of clipped gradients, computed again from weights and drawn windows: for auditors.

Assumes Opacus' rule: one gradient an image (or a crop), scaled by min(1, C / (norm + 1e-6)). They
are taken by torch.func, apart from the code that trained, in the precision of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from cropaudit.accounting.crop_laws import CropLaw
from cropaudit.training.crops import Window
from cropaudit.training.cutting import cut_window
from cropaudit.training.data import SegmentationData
from cropaudit.training.losses import pixel_losses, prepare
from cropaudit.training.run_spec import DpSgdSpec
from cropaudit.training.tape import Tape, TapeFacts

__all__ = ["ClipRule", "clean_sum", "taped_sum"]

_CHUNK = 8  # gradients held at once
_OPACUS = 1e-6  # what Opacus adds to a norm before it divides by it


@dataclass(frozen=True)
class ClipRule:
    """What becomes of the windows of an image.

    Attributes:
        crop: Under which they were drawn.
        max_grad_norm: C.
        averaged: Crops of one image whose gradients are averaged before clipping.
    """

    crop: CropLaw
    max_grad_norm: float
    averaged: int = 1

    @classmethod
    def of(cls, run: DpSgdSpec | TapeFacts) -> "ClipRule":
        """Returns the rule of a run."""
        averaged = run.crops_per_image if run.clipped == "together" else 1
        return cls(run.crop, run.max_grad_norm, averaged)


def taped_sum(
    model: nn.Module,
    data: SegmentationData,
    tape: Tape,
    step: int,
    records: Sequence[int] | None = None,
) -> Tensor:
    """Returns what some records added to one step's sum before noise, shape (P,), float64.

    Args:
        model: The plain module, its parameters as before the update.
        data: As trained on.
        tape: Of the run.
        step: From 0.
        records: Those to count, where the batch holds them; all of it if None.
    """
    crops = tape.facts.crops_per_image
    batch, windows = tape.batch(step), tape.windows_of(step)
    kept = [i for i, record in enumerate(batch) if records is None or record in records]
    chosen = [window for i in kept for window in windows[i * crops : (i + 1) * crops]]
    return clean_sum(model, data, ClipRule.of(tape.facts), [batch[i] for i in kept], chosen)


def clean_sum(
    model: nn.Module,
    data: SegmentationData,
    rule: ClipRule,
    indices: Sequence[int],
    windows: Sequence[Window],
) -> Tensor:
    """Returns the sum of the clipped gradients over the trainable parameters, shape (P,), float64.

    Each is in the model's precision; their sum is not, for auditors take it from a noisy one.

    Args:
        model: The plain module.
        data: As trained on.
        rule: How windows are cut and gradients clipped.
        indices: Records.
        windows: All those of the first record, then those of the next.
    """
    named = {name: p.detach() for name, p in model.named_parameters()}
    trained = {n: named.pop(n) for n, p in model.named_parameters() if p.requires_grad}
    like = next(iter(trained.values()))
    total = like.new_zeros(sum(p.numel() for p in trained.values()), dtype=torch.float64)

    def loss(parameters: dict[str, Tensor], images: Tensor, masks: Tensor) -> Tensor:
        logits = functional_call(model, {**parameters, **named}, (images,))
        return pixel_losses(logits, masks).mean()

    gradient = vmap(grad(loss), in_dims=(None, 0, 0))
    rows = _rows(indices, windows, rule.averaged)
    for start in range(0, len(rows), _CHUNK):
        images, masks = _shown(data, rule.crop, rows[start : start + _CHUNK])
        each = gradient(trained, images.to(like), masks.to(like.device))
        flat = torch.cat([each[name].flatten(1) for name in trained], dim=1)
        factors = (rule.max_grad_norm / (flat.norm(dim=1) + _OPACUS)).clamp(max=1)
        total += factors.double() @ flat.double()
    return total


_Row = list[tuple[int, Window]]  # the crops behind one gradient


def _rows(indices: Sequence[int], windows: Sequence[Window], averaged: int) -> list[_Row]:
    crops = len(windows) // max(1, len(indices))
    records = [record for record in indices for _ in range(crops)]
    pairs = list(zip(records, windows, strict=True))
    return [pairs[start : start + averaged] for start in range(0, len(pairs), averaged)]


def _shown(data: SegmentationData, crop: CropLaw, rows: list[_Row]) -> tuple[Tensor, Tensor]:
    """Returns scaled images (B, K, 3, h, w) and masks (B, K, h, w)."""
    cuts = [
        [
            cut_window(data.images[record], data.masks[record], window, crop)
            for record, window in row
        ]
        for row in rows
    ]
    images = torch.stack([torch.stack([image for image, _ in row]) for row in cuts])
    masks = torch.stack([torch.stack([mask for _, mask in row]) for row in cuts])
    return prepare(images), masks
