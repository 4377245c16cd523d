"""Does Opacus take this model's per-sample gradients rightly? Checked against plain autograd.

Assumes float64 on a copy of the model, so that an error above `TOLERANCE` is a fault and no
rounding. The oracle never sees more than one image at a time, and so cannot mix them.
"""

import copy
from dataclasses import dataclass

import torch
from opacus.grad_sample.utils import wrap_model
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from cropaudit.errors import require
from cropaudit.training.dpsgd import quiet_backward
from cropaudit.training.losses import pixel_losses, prepare
from cropaudit.training.models import GradSampleMode

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
    truth = _oracle(copy.deepcopy(model), pixels, masks)
    parameters = [p for p in model.parameters() if p.requires_grad]
    wrapped = wrap_model(model, mode, loss_reduction="sum")
    samples = _per_sample(wrapped, parameters, pixels, masks)
    changed = _per_sample(wrapped, parameters, *_change_image_1(pixels, masks))
    alone = (_clipped_sum(parameters, samples[i : i + 1], bound) for i in range(len(samples)))
    largest = max(float(one.norm()) for one in alone)
    # Opacus adds 1e-6 to the norm, which only shrinks what is summed.
    factors = (bound / (truth.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1)
    total = _clipped_sum(parameters, samples, bound)
    return _judge(
        gradient_error=_relative(samples, truth),
        largest_clipped_norm=largest / bound,
        aggregate_error=float((total - (factors * truth).sum(dim=0)).norm()) / bound,
        isolation_error=_relative(changed[:1], samples[:1]),
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


def _oracle(model: nn.Module, pixels: Tensor, masks: Tensor) -> Tensor:
    """Returns each image's gradient, (B, P), by a pass of its own."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for i in range(len(pixels)):
        loss = pixel_losses(model(pixels[i : i + 1]), masks[i : i + 1]).sum()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([g.flatten() for g in gradients]))
    return torch.stack(rows)


def _per_sample(
    wrapped: nn.Module, parameters: list[nn.Parameter], pixels: Tensor, masks: Tensor
) -> Tensor:
    """Returns Opacus' per-sample gradients, (B, P)."""
    for parameter in parameters:
        parameter.grad, parameter.grad_sample = None, None  # type: ignore[attr-defined]
    with quiet_backward():
        torch.autograd.backward(pixel_losses(wrapped(pixels), masks).sum())
    return torch.cat([_sample(p).flatten(1) for p in parameters], dim=1)


def _sample(parameter: nn.Parameter) -> Tensor:
    sample = getattr(parameter, "grad_sample", None)
    if not isinstance(sample, Tensor):
        shape = tuple(parameter.shape)
        raise ValueError(f"Opacus gives no per-sample gradient for a parameter of shape {shape}")
    return sample


def _change_image_1(pixels: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    pixels, masks = pixels.clone(), masks.clone()
    pixels[1] = 3 * pixels[1].flip(-1) + 1
    masks[1] = masks[1].flip(-2)
    return pixels, masks


def _clipped_sum(parameters: list[nn.Parameter], samples: Tensor, bound: float) -> Tensor:
    """Returns DPOptimizer's noise-free sum, (P,), of ``samples``, (B, P)."""
    optimizer = DPOptimizer(
        torch.optim.SGD(parameters, lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=bound,
        expected_batch_size=None,
        loss_reduction="sum",
    )
    optimizer.zero_grad(set_to_none=True)
    parts = torch.split(samples, [p.numel() for p in parameters], dim=1)
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad_sample = part.reshape(-1, *parameter.shape).clone()  # type: ignore[attr-defined]
    optimizer.pre_step()
    return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])


def _relative(found: Tensor, expected: Tensor) -> float:
    """Returns the largest relative distance of two sets of rows; a zero row must be met exactly."""
    distances = (found - expected).norm(dim=1)
    norms = expected.norm(dim=1).clamp(min=torch.finfo(expected.dtype).tiny)
    return float((distances / norms).max())
