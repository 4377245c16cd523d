"""Sums of clipped gradients, computed again from weights and drawn windows: for auditors.

Assumes Opacus' rule: one gradient an image (or a crop), scaled by min(1, C / (norm + 1e-6)). They
are taken by torch.func, apart from the code that trained, in the precision of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from cropaudit.accounting.geometry.crop_laws import CropLaw
from cropaudit.training.crops.cutting import cut_window
from cropaudit.training.crops.joint import Window
from cropaudit.training.data.images import SegmentationData
from cropaudit.training.dpsgd.run_spec import DpSgdSpec
from cropaudit.training.models.losses import pixel_losses, prepare
from cropaudit.training.transcript.transcript import TranscriptFacts

__all__ = ["ClipRule", "clean_sum"]

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
    def of(cls, run: DpSgdSpec | TranscriptFacts) -> "ClipRule":
        """Returns the rule of a run."""
        averaged = run.crops_per_image if run.clipped == "together" else 1
        return cls(run.crop, run.max_grad_norm, averaged)


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
    crops = len(windows) // max(1, len(indices))
    pairs = zip((record for record in indices for _ in range(crops)), windows, strict=True)
    shown = [cut_window(data.images[i], data.masks[i], one, rule.crop) for i, one in pairs]
    each_of = rule.averaged
    for start in range(0, len(shown), _CHUNK * each_of):
        images, masks = (
            torch.stack(part).reshape(-1, each_of, *part[0].shape)
            for part in zip(*shown[start : start + _CHUNK * each_of], strict=True)
        )
        each = gradient(trained, prepare(images).to(like), masks.to(like.device))
        flat = torch.cat([each[name].flatten(1) for name in trained], dim=1)
        factors = (rule.max_grad_norm / (flat.norm(dim=1) + _OPACUS)).clamp(max=1)
        total += factors.double() @ flat.double()
    return total
