"""Opacus' per-sample gradients, or ghost norms, beside autograd's for one image at a time."""

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from opacus.grad_sample import AbstractGradSampleModule, GradSampleModule
from opacus.grad_sample import GradSampleModuleExpandedWeights as ExpandedWeights
from opacus.grad_sample import GradSampleModuleFastGradientClipping as Ghost
from opacus.grad_sample.utils import wrap_model
from torch import Tensor, nn

from cropaudit.audit.conformance.probes.gradient_rows import (
    TotalLoss,
    autograd_rows,
    clipped_sum,
    opacus_rows,
    relative,
)
from cropaudit.training.private_step import quiet_backward

__all__ = ["Compared", "compare", "unwrapped"]

# Opacus adds this to the norm that it divides by.
_OPACUS_SLACK = 1e-6
_WORDS = 300
_UNKNOWN = float("nan")


@dataclass(frozen=True)
class Compared:
    """The comparison, by parameter; figures as in `Gradients`."""

    parameters: list[str]
    kinds: list[str]
    crossed: list[bool]
    error: list[float]
    clipped_norm: list[float] = field(default_factory=list)
    sum_error: float = _UNKNOWN
    gradient_shift: float = _UNKNOWN
    refused: str = ""


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
) -> Compared:
    """Compares on a batch; a refusal by Opacus is a result.

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
    names, kinds = [n for n, _ in named], [owners[n][1] for n, _ in named]
    watcher = _Layouts(model)
    try:
        truth = autograd_rows(plain, total, *both[:2])
        found = _figures(
            model, mode, total, both, truth, min(bound or math.inf, _half_smallest(truth))
        )
    except Exception as error:  # Opacus and torch refuse in many ways; the check says which.
        words = " ".join(str(error).split())[:_WORDS]
        figures = Compared(names, kinds, [False] * len(names), [_UNKNOWN] * len(names))
        return Compared(**{**vars(figures), "refused": f"{type(error).__name__}: {words}"})
    crossed = [owners[n][0] in watcher.crossed for n in names]
    return Compared(names, kinds, crossed, *found)


def _figures(
    model: nn.Module,
    mode: str,
    total: TotalLoss,
    both: tuple[Tensor, Tensor, Tensor, Tensor],
    truth: Tensor,
    bound: float,
) -> tuple[list[float], list[float], float, float]:
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
            relative(changed[:1], norms[:1]),
        )
    else:
        wrapped = wrap_model(model, mode, loss_reduction="sum")
        rows = opacus_rows(wrapped, parameters, total, images, masks)
        changed = opacus_rows(wrapped, parameters, total, others, other_masks)[:1]
        misses = torch.split(rows - truth, sizes, dim=1)
        alone = [clipped_sum(parameters, rows[i : i + 1], bound) for i in range(len(rows))]
        clipped = torch.stack(alone).norm(dim=1)
        summed, shift = clipped_sum(parameters, rows, bound), relative(changed, rows[:1])
    scale = truth.norm(dim=1).clamp(min=torch.finfo(truth.dtype).tiny)
    error = [float((miss.norm(dim=1) / scale).max()) for miss in misses]
    return error, (clipped / bound).tolist(), float((summed - aim).norm()) / bound, shift


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
