"""Does Opacus take this model's per-sample gradients rightly? Checked against plain autograd.

Assumes float64 on a copy of the model, so that an error above `TOLERANCE` is a fault and no
rounding. The oracle never sees more than one image at a time, and so cannot mix them.
"""

import copy
from dataclasses import dataclass

import torch
from opacus.grad_sample.utils import wrap_model
from torch import Tensor, nn

from cropaudit.errors import require
from cropaudit.training.losses import pixel_losses, prepare
from cropaudit.training.models import GradSampleMode
from cropaudit.training.persample import autograd_rows, clipped_sum, opacus_rows, relative

__all__ = ["TOLERANCE", "SelfCheck", "self_check"]

TOLERANCE = 1e-8


@dataclass(frozen=True)
class SelfCheck:
    """How far Opacus is off on one batch; all figures are NaN where it refused the model.

    Attributes:
        gradient_error: Largest distance of a per-sample gradient from the oracle's, relative to
            the oracle's norm.
        largest_clipped_norm: Largest norm of what one image adds to the sum, in units of C.
        aggregate_error: Distance of the noise-free sum from the oracle's, in units of C.
        isolation_error: How far the gradient of image 0 moves when image 1 is changed, relative.
        passed: Whether every figure is within `TOLERANCE`.
        detail: What failed, or the refusal, in one line.
    """

    gradient_error: float
    largest_clipped_norm: float
    aggregate_error: float
    isolation_error: float
    passed: bool
    detail: str


def self_check(
    model: nn.Module, images: Tensor, masks: Tensor, max_grad_norm: float, mode: GradSampleMode
) -> SelfCheck:
    """Checks gradients, clipping, aggregation and isolation on one batch.

    Args:
        model: The plain module; it is copied, not changed.
        images: uint8 (B, 3, H, W), B >= 2.
        masks: Integers (B, H, W).
        max_grad_norm: C.
        mode: Opacus' grad-sample mode.
    """
    require(len(images) >= 2, "images", "at least 2", len(images))
    require(max_grad_norm > 0, "max_grad_norm", "above 0", max_grad_norm)
    where = next((p.device for p in model.parameters()), torch.device("cpu"))
    pixels, masks = prepare(images).double().to(where), masks.to(where)
    try:
        return _compare(copy.deepcopy(model).double().train(), pixels, masks, max_grad_norm, mode)
    except Exception as error:  # Opacus and torch refuse in many ways; each is a failed check.
        words = " ".join(str(error).split())[:300]
        unknown = float("nan")
        refusal = f"refused: {type(error).__name__}: {words}"
        return SelfCheck(unknown, unknown, unknown, unknown, False, refusal)


def _compare(
    model: nn.Module, pixels: Tensor, masks: Tensor, bound: float, mode: GradSampleMode
) -> SelfCheck:
    truth = autograd_rows(copy.deepcopy(model), _total, pixels, masks)
    parameters = [p for p in model.parameters() if p.requires_grad]
    wrapped = wrap_model(model, mode, loss_reduction="sum")
    samples = opacus_rows(wrapped, parameters, _total, pixels, masks)
    changed = opacus_rows(wrapped, parameters, _total, *_change_image_1(pixels, masks))
    alone = (clipped_sum(parameters, samples[i : i + 1], bound) for i in range(len(samples)))
    largest = max(float(one.norm()) for one in alone)
    # Opacus adds 1e-6 to the norm, which only shrinks what is summed.
    factors = (bound / (truth.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1)
    total = clipped_sum(parameters, samples, bound)
    return _judge(
        gradient_error=relative(samples, truth),
        largest_clipped_norm=largest / bound,
        aggregate_error=float((total - (factors * truth).sum(dim=0)).norm()) / bound,
        isolation_error=relative(changed[:1], samples[:1]),
    )


def _judge(
    gradient_error: float,
    largest_clipped_norm: float,
    aggregate_error: float,
    isolation_error: float,
) -> SelfCheck:
    # Written so that a NaN fails.
    findings = {
        f"per-sample gradients are off by {gradient_error:.1e}": gradient_error <= TOLERANCE,
        f"one image adds {largest_clipped_norm:.3f} C": largest_clipped_norm <= 1 + TOLERANCE,
        f"the sum is off by {aggregate_error:.1e} C": aggregate_error <= TOLERANCE,
        f"image 1 moves the gradient of image 0 by {isolation_error:.1e}": (
            isolation_error <= TOLERANCE
        ),
    }
    faults = [words for words, fine in findings.items() if not fine]
    detail = "; ".join(faults) or f"per-sample gradients within {TOLERANCE:.0e} of autograd"
    return SelfCheck(
        gradient_error, largest_clipped_norm, aggregate_error, isolation_error, not faults, detail
    )


def _total(logits: Tensor, masks: Tensor) -> Tensor:
    return pixel_losses(logits, masks).sum()


def _change_image_1(pixels: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    pixels, masks = pixels.clone(), masks.clone()
    pixels[1] = 3 * pixels[1].flip(-1) + 1
    masks[1] = masks[1].flip(-2)
    return pixels, masks
