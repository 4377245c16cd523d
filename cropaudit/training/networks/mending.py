"""Makes a network fit for per-sample gradients, without changing what it computes.

Opacus demands: no operation in place, contiguous inputs to every convolution, no trainable
parameter that the output does not depend on. Random layers are turned off too: an audit compares
runs that differ in the patch alone.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from opacus.validators import ModuleValidator
from torch import Tensor, nn

from cropaudit.errors import InputError, require

__all__ = ["mend_layers"]

# Where torch's, torchvision's, timm's and smp's layers keep their chance of dropping something.
_CHANCES = ("drop_prob", "drop_rate", "_drop_connect_rate")
_TWO_ANSWERS = 1e-5
_PROBE = 64


def mend_layers(model: nn.Module) -> nn.Module:
    """Mends ``model``, which must mix no images, in place; returns it in training mode.

    Raises:
        InputError: If a random layer is left that cannot be turned off, or one that mixes images.
    """
    for module in model.modules():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010 - not every module has one
        _still(module)
        if isinstance(module, nn.Conv2d):
            # Opacus' unfold2d reads the strides wrongly on channels_last or transposed inputs.
            module.register_forward_pre_hook(_contiguous)
    _replace_residuals(model)
    _freeze_unused(model)
    refusals = ModuleValidator.validate(model.train())
    require(not refusals, "model", "one that Opacus takes", "; ".join(map(str, refusals)))
    return model


def _still(module: nn.Module) -> None:
    names = ("p",) if type(module).__name__.startswith(("Dropout", "StochasticDepth")) else ()
    for name in (*names, *_CHANCES):
        if isinstance(getattr(module, name, None), float):
            setattr(module, name, 0.0)


def _contiguous(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    # By way of a flat tensor: sides of 1 may bear any stride, and Opacus trusts it, although
    # torch calls such memory contiguous.
    return tuple(torch.flatten(x).view(x.shape) for x in inputs)


def _freeze_unused(model: nn.Module) -> None:
    """Freezes what a probe's gradient does not reach: DPOptimizer refuses such parameters."""
    # One image, as when its gradient is taken alone: some layers refuse that.
    images = torch.linspace(-2, 2, 3 * _PROBE**2).reshape(1, 3, _PROBE, _PROBE)
    model.train()
    try:
        with torch.enable_grad():
            logits = model(images)
            torch.autograd.backward(logits.square().sum())
        with torch.no_grad():
            moved = float((model(images) - logits).norm() / logits.norm())
    except (AssertionError, RuntimeError, ValueError) as error:
        words = " ".join(str(error).split())
        raise InputError(f"model must be one that runs on one small image, got {words}") from error
    legal = "one whose random layers can be turned off"
    require(moved < _TWO_ANSWERS, "model", legal, f"two outputs for one input, {moved:.1g} apart")
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.requires_grad and parameter.grad is not None)
        parameter.grad = None


def _replace_residuals(model: nn.Module) -> None:
    """Gives torchvision's residual blocks, which add in place, a forward that does not."""
    for module in model.modules():
        forward = _RESIDUALS.get(f"{type(module).__module__}.{type(module).__name__}")
        if forward is not None:
            # A partial, unlike a bound method, survives a copy and a pickle of the model.
            module.forward = partial(forward, module)


def _residual(block: Any, x: Tensor) -> Tensor:
    out = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x)))))
    if hasattr(block, "conv3"):
        out = block.bn3(block.conv3(block.relu(out)))
    added: Tensor = out + (x if block.downsample is None else block.downsample(x))
    relu: Callable[[Tensor], Tensor] = block.relu
    return relu(added)


def _inverted_residual(block: Any, x: Tensor) -> Tensor:
    out: Tensor = block.block(x)
    return out + x if block.use_res_connect else out


# By name, so that torchvision is not imported for models that are not built from it.
_RESIDUALS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "torchvision.models.resnet.BasicBlock": _residual,
    "torchvision.models.resnet.Bottleneck": _residual,
    "torchvision.models.mobilenetv3.InvertedResidual": _inverted_residual,
}
