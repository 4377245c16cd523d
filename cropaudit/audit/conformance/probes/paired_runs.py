"""What a model's state keeps of images beside the weights: runs from one seed, held together.

Two runs of the same steps from the same seed, whose images differ in pixels that no gradient
depends on: weights and noise are the same bit for bit, and so must be buffers and all else that a
checkpoint holds. In a third run the loss of each image is another one, and gradients are clipped to
the same.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["moved", "seeded", "state_of"]

# Relative to the largest entry: gradients clipped from other norms differ by rounding.
_ROUNDING = 1e-4


def seeded(seed: int) -> None:
    """Seeds every global generator."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - users' code draws from it
    torch.manual_seed(seed)


def state_of(model: nn.Module, step: Callable[..., Any] | None = None) -> dict[str, Tensor]:
    """Returns all that a checkpoint holds beside the parameters, and buffers that it does not."""
    weights = {name for name, _ in model.named_parameters()}
    found: dict[str, Any] = {**dict(model.named_buffers()), **model.state_dict()}
    own = getattr(step, "state_dict", None)
    if callable(own):
        found |= {f"step.{name}": item for name, item in _flat(own())}
    return {
        name: item.detach().clone()
        for name, item in _flat(found)
        if isinstance(item, Tensor) and name not in weights
    }


def moved(
    here: Mapping[str, Tensor], there: Mapping[str, Tensor], *, rounding: bool = False
) -> dict[str, float]:
    """Returns how far each entry of two states is apart, if at all; inf where one lacks it.

    >>> moved({"a": torch.ones(2), "b": torch.ones(2)}, {"a": torch.ones(2), "b": torch.zeros(2)})
    {'b': 1.0}
    """
    apart = {}
    for name in sorted({*here, *there}):
        one, two = here.get(name), there.get(name)
        if one is None or two is None or one.shape != two.shape:
            apart[name] = float("inf")
        elif one.numel():
            a, b = one.double(), two.double()
            far = float((a - b).abs().nan_to_num(nan=float("inf")).max())
            allowed = _ROUNDING * float(torch.maximum(a.abs(), b.abs()).max()) if rounding else 0.0
            if not (far <= allowed or torch.equal(one, two)):
                apart[name] = far
    return apart


def _flat(found: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Returns the tensors and numbers in nested dicts and lists, named by their path."""
    if isinstance(found, Mapping):
        pairs = [(str(key), item) for key, item in found.items()]
    elif isinstance(found, list | tuple):
        pairs = [(str(index), item) for index, item in enumerate(found)]
    elif isinstance(found, bool | int | float):
        return [(prefix, torch.tensor(float(found), dtype=torch.float64))]
    else:
        return [(prefix, found)]
    return [
        part for key, item in pairs for part in _flat(item, f"{prefix}.{key}" if prefix else key)
    ]
