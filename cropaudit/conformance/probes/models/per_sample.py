"""Opacus' per-sample gradients, or ghost norms, beside autograd's for one image at a time.

Assumes a loss that is a sum over images. Rows are flattened over the trainable parameters in their
order; the caller chooses the floating point type, float64 where rounding must not matter.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from opacus.grad_sample import AbstractGradSampleModule, GradSampleModule
from opacus.grad_sample import GradSampleModuleExpandedWeights as ExpandedWeights
from opacus.grad_sample import GradSampleModuleFastGradientClipping as Ghost
from opacus.grad_sample.utils import wrap_model
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from cropaudit.training.dpsgd.private_step import quiet_backward

__all__ = ["TotalLoss", "compare", "unwrapped"]

TotalLoss = Callable[[Any, Tensor], Tensor]

# Opacus adds this to the norm that it divides by.
_OPACUS_SLACK = 1e-6
_WORDS = 300


def unwrapped(made: nn.Module) -> tuple[nn.Module, str]:
    """Returns the plain module and Opacus' mode: that of its wrapper, else hooks, the default."""
    if not isinstance(made, AbstractGradSampleModule):
        return made, "hooks"
    mode = "hooks"
    if isinstance(made, Ghost):
        mode = "ghost"
    elif isinstance(made, ExpandedWeights):
        mode = "ew"
    elif isinstance(made, GradSampleModule) and getattr(made, "force_functorch", False):
        mode = "functorch"
    return made.to_standard_module(), mode


def compare(
    model: nn.Module,
    mode: str,
    total: TotalLoss,
    both: tuple[Tensor, Tensor, Tensor, Tensor],
    bound: float | None,
) -> dict[str, Any]:
    """Compares on a batch, and returns fields of `Gradients`; a refusal by Opacus is a result.

    Args:
        model: In training mode; copied, not changed.
        mode: Opacus' grad-sample mode.
        total: The loss, summed over images.
        both: Images and masks, then others that agree in image 0.
        bound: C; half the smallest norm of a gradient if none, or if that is less.
    """
    model, plain = copy.deepcopy(model), copy.deepcopy(model)
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    owners = _owners(model)
    names = [name for name, _ in named]
    watcher = _Layouts(model)
    try:
        truth = _autograd_rows(plain, total, *both[:2])
        bound = min(bound or math.inf, _half_smallest(truth))
        figures = _figures(model, mode, total, both, truth, bound)
    except Exception as error:  # Opacus and torch refuse in many ways; the check says which.
        words = " ".join(str(error).split())[:_WORDS]
        watcher.crossed.clear()
        figures = {
            "error": np.full(len(names), np.nan),
            "clipped_norm": np.zeros(0),
            "sum_error": math.nan,
            "gradient_shift": math.nan,
            "refused": f"{type(error).__name__}: {words}",
        }
    return {
        "parameters": np.array(names, dtype=np.str_),
        "kinds": np.array([owners[n][1] for n in names], dtype=np.str_),
        "crossed": np.array([owners[n][0] in watcher.crossed for n in names], dtype=np.bool_),
        **figures,
    }


def _figures(
    model: nn.Module,
    mode: str,
    total: TotalLoss,
    both: tuple[Tensor, Tensor, Tensor, Tensor],
    truth: Tensor,
    bound: float,
) -> dict[str, Any]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    sizes = [p.numel() for p in parameters]
    images, masks, others, other_masks = both
    factors = (bound / (truth.norm(dim=1, keepdim=True) + _OPACUS_SLACK)).clamp(max=1)
    aim = (factors * truth).sum(dim=0)
    if mode == "ghost":
        wrapped = wrap_model(model, mode, loss_reduction="sum", max_grad_norm=bound)
        norms = _ghost_norms(wrapped, parameters, total, images, masks)
        changed = _ghost_norms(wrapped, parameters, total, others, other_masks)
        theirs = torch.stack([part.norm(dim=1) for part in torch.split(truth, sizes, dim=1)], dim=1)
        misses = (norms - theirs).abs().unsqueeze(2).unbind(1)
        given = (bound / (norms.norm(dim=1, keepdim=True) + _OPACUS_SLACK)).clamp(max=1) * truth
        clipped, summed, shift = (
            given.norm(dim=1),
            given.sum(dim=0),
            _relative(changed[:1], norms[:1]),
        )
    else:
        wrapped = wrap_model(model, mode, loss_reduction="sum")
        rows = _opacus_rows(wrapped, parameters, total, images, masks)
        changed = _opacus_rows(wrapped, parameters, total, others, other_masks)[:1]
        misses = torch.split(rows - truth, sizes, dim=1)
        alone = [_clipped_sum(parameters, rows[i : i + 1], bound) for i in range(len(rows))]
        clipped = torch.stack(alone).norm(dim=1)
        summed, shift = _clipped_sum(parameters, rows, bound), _relative(changed, rows[:1])
    scale = truth.norm(dim=1).clamp(min=torch.finfo(truth.dtype).tiny)
    error = [float((miss.norm(dim=1) / scale).max()) for miss in misses]
    return {
        "error": np.array(error),
        "clipped_norm": (clipped / bound).detach().double().numpy(),
        "sum_error": float((summed - aim).norm()) / bound,
        "gradient_shift": shift,
        "refused": "",
    }


def _ghost_norms(
    wrapped: nn.Module, parameters: list[Any], total: TotalLoss, images: Tensor, masks: Tensor
) -> Tensor:
    """Returns Opacus' norms, (B, parameters)."""
    with quiet_backward():
        torch.autograd.backward(total(wrapped(images), masks))
    norms = torch.stack([p._norm_sample.flatten() for p in parameters], dim=1)
    for parameter in parameters:
        parameter.grad, parameter.grad_sample = None, None
    return norms.detach()


def _half_smallest(truth: Tensor) -> float:
    norms = truth.norm(dim=1)
    return float(norms[norms > 0].min()) / 2 if bool((norms > 0).any()) else 1.0


def _owners(model: nn.Module) -> dict[str, tuple[str, str]]:
    """Returns the path and class of the module that each parameter belongs to."""
    return {
        f"{path}.{name}" if path else name: (path, type(module).__name__)
        for path, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
    }


class _Layouts:
    """Notes which modules are fed memory that is not contiguous."""

    def __init__(self, model: nn.Module) -> None:
        self.crossed: set[str] = set()
        for path, module in model.named_modules():
            if any(True for _ in module.parameters(recurse=False)):
                module.register_forward_pre_hook(self._note(path))

    def _note(self, path: str) -> Any:
        def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if any(isinstance(x, Tensor) and not x.is_contiguous() for x in inputs):
                self.crossed.add(path)

        return note


def _autograd_rows(model: nn.Module, total: TotalLoss, pixels: Tensor, masks: Tensor) -> Tensor:
    """Returns each image's gradient, (B, P), by a pass of its own, which cannot mix images."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for i in range(len(pixels)):
        loss = total(model(pixels[i : i + 1]), masks[i : i + 1])
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([g.flatten() for g in gradients]))
    return torch.stack(rows)


def _opacus_rows(
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


def _clipped_sum(parameters: list[nn.Parameter], samples: Tensor, bound: float) -> Tensor:
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


def _relative(found: Tensor, expected: Tensor) -> float:
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
