"""A second optimiser of the same kind and settings: what it makes of the gradients of the first."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim.optimizer import Optimizer

__all__ = ["Twin"]

_NAMED = ("lr", "momentum", "dampening", "nesterov", "weight_decay", "betas", "eps")


class Twin:
    """Follows one optimiser on weights of its own.

    Attributes:
        usable: Whether it could be made.
        words: The optimiser and its settings.
        change: What its last step added to the weights, flat.
    """

    def __init__(self, optimizer: Optimizer, held: list[nn.Parameter]) -> None:
        """Makes it; an optimiser of the user's own make, or of more weights, has none."""
        self.change: NDArray[np.float64] = np.zeros(0)
        self._own = [nn.Parameter(p.detach().clone()) for p in held]
        own = {id(p): mine for p, mine in zip(held, self._own, strict=True)}
        group = optimizer.param_groups[0]
        settings = ", ".join(f"{name}={group[name]}" for name in _NAMED if group.get(name))
        self.words = f"{type(optimizer).__name__}({settings})"
        self._twin: Optimizer | None = None
        try:
            groups = [
                {**_settings(group), "params": [own[id(p)] for p in group["params"]]}
                for group in optimizer.param_groups
            ]
            self._twin = type(optimizer)(groups)  # type: ignore[call-arg]
        except (TypeError, KeyError, ValueError):
            self._twin = None
        self.usable = self._twin is not None

    def step(self, optimizer: Optimizer, held: list[nn.Parameter]) -> None:
        """Does the step that ``optimizer`` is about to do, from the same weights."""
        if self._twin is None:
            return
        for theirs, ours in zip(optimizer.param_groups, self._twin.param_groups, strict=True):
            ours.update(_settings(theirs))
        with torch.no_grad():
            for mine, p in zip(self._own, held, strict=True):
                mine.copy_(p)
                mine.grad = None if p.grad is None else p.grad.detach().clone()
        before = [mine.detach().clone() for mine in self._own]
        self._twin.step()
        moved = [mine.detach() - old for mine, old in zip(self._own, before, strict=True)]
        self.change = torch.cat([part.flatten() for part in moved]).cpu().double().numpy()


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}
