"""Per-sample gradients three ways: by autograd alone, by Opacus, and clipped and summed by it.

Assumes a loss that is a sum over images. Rows are flattened over the trainable parameters in their
order; the caller chooses the floating point type, float64 where rounding must not matter.
"""

from collections.abc import Callable
from typing import Any

import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from cropaudit.training.private_step import quiet_backward

__all__ = ["TotalLoss", "autograd_rows", "clipped_sum", "opacus_rows", "relative"]

TotalLoss = Callable[[Any, Tensor], Tensor]


def autograd_rows(model: nn.Module, total: TotalLoss, pixels: Tensor, masks: Tensor) -> Tensor:
    """Returns each image's gradient, (B, P), by a pass of its own, which cannot mix images."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for i in range(len(pixels)):
        loss = total(model(pixels[i : i + 1]), masks[i : i + 1])
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([g.flatten() for g in gradients]))
    return torch.stack(rows)


def opacus_rows(
    wrapped: nn.Module,
    parameters: list[nn.Parameter],
    total: TotalLoss,
    pixels: Tensor,
    masks: Tensor,
) -> Tensor:
    """Returns Opacus' per-sample gradients, (B, P), of a model that it wrapped.

    Raises:
        ValueError: If a parameter has none.
    """
    for parameter in parameters:
        parameter.grad, parameter.grad_sample = None, None  # type: ignore[attr-defined]
    with quiet_backward():
        torch.autograd.backward(total(wrapped(pixels), masks))
    return torch.cat([_sample(p).flatten(1) for p in parameters], dim=1)


def clipped_sum(parameters: list[nn.Parameter], samples: Tensor, bound: float) -> Tensor:
    """Returns DPOptimizer's noise-free sum, (P,), of ``samples``, (B, P), clipped to ``bound``."""
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


def relative(found: Tensor, expected: Tensor) -> float:
    """Returns the largest relative distance of two sets of rows; a zero row must be met exactly."""
    distances = (found - expected).norm(dim=1)
    norms = expected.norm(dim=1).clamp(min=torch.finfo(expected.dtype).tiny)
    return float((distances / norms).max())


def _sample(parameter: nn.Parameter) -> Tensor:
    sample = getattr(parameter, "grad_sample", None)
    if not isinstance(sample, Tensor):
        shape = tuple(parameter.shape)
        raise ValueError(f"Opacus gives no per-sample gradient for a parameter of shape {shape}")
    return sample
