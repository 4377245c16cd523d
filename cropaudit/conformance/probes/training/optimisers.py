"""Listens to torch's optimisers: the gradients that they are handed, and a replay of their steps.

Momentum, weight decay or Adam are computed from the noisy mean alone, and so cost no privacy. To
see the mean itself, and to know that the change of the weights is what the optimiser makes of it,
a second optimiser of the same kind and settings is handed the same.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

__all__ = ["Listener", "SecondOptimiser", "flat", "gradients_of"]

Array = NDArray[np.float64]
_NAMED = ("lr", "momentum", "dampening", "nesterov", "weight_decay", "betas", "eps")


class SecondOptimiser:
    """Follows one optimiser on weights of its own.

    Attributes:
        usable: Whether it could be made.
        words: The optimiser and its settings.
        change: What its last step added to the weights, flat.
    """

    def __init__(self, optimizer: Optimizer, held: Sequence[nn.Parameter]) -> None:
        """Makes it; an optimiser of the user's own make, or of more weights, has none."""
        self.change: Array = np.zeros(0)
        self._own = [nn.Parameter(p.detach().clone()) for p in held]
        own = {id(p): mine for p, mine in zip(held, self._own, strict=True)}
        group = optimizer.param_groups[0]
        settings = ", ".join(f"{name}={group[name]}" for name in _NAMED if group.get(name))
        self.words = f"{type(optimizer).__name__}({settings})"
        self._second: Optimizer | None = None
        try:
            groups = [
                {**_settings(group), "params": [own[id(p)] for p in group["params"]]}
                for group in optimizer.param_groups
            ]
            self._second = type(optimizer)(groups)  # type: ignore[call-arg]
        except (TypeError, KeyError, ValueError):
            self._second = None
        self.usable = self._second is not None

    def step(self, optimizer: Optimizer, held: Sequence[nn.Parameter]) -> None:
        """Does the step that ``optimizer`` is about to do, from the same weights."""
        if self._second is None:
            return
        for theirs, ours in zip(optimizer.param_groups, self._second.param_groups, strict=True):
            ours.update(_settings(theirs))
        with torch.no_grad():
            for mine, p in zip(self._own, held, strict=True):
                mine.copy_(p)
                mine.grad = None if p.grad is None else p.grad.detach().clone()
        before = [mine.detach().clone() for mine in self._own]
        self._second.step()
        self.change = flat([mine - old for mine, old in zip(self._own, before, strict=True)])


class Listener:
    """Records what optimisers of one model are handed, one row for each logical step."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = list(model.parameters())
        self._steps: list[tuple[Array, Array]] = []
        self._rows: list[tuple[Array, Array]] = []
        self._single = True
        self._second: SecondOptimiser | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listens while the context lasts."""
        handle = register_optimizer_step_pre_hook(self._note)
        try:
            yield
        finally:
            handle.remove()

    def begin(self) -> None:
        """Begins a logical step."""
        self._steps = []

    def end(self) -> None:
        """Ends it: what was handed becomes a row."""
        self._single &= len(self._steps) < 2
        nothing = np.zeros(sum(p.numel() for p in self._parameters))
        self._rows.append(self._steps[0] if self._steps else (nothing, nothing))

    def handed(self) -> Array:
        """Returns the rows, (T, P); no columns if there is not one for each step."""
        return self._table(0, known=True)

    def replayed(self) -> Array:
        """Returns the second optimiser's changes, (T, P); no columns if it could not be made."""
        return self._table(1, known=self._second is not None and self._second.usable)

    def words(self) -> str:
        """Returns the optimiser and its settings."""
        return self._second.words if self._second is not None and self._single else ""

    def _table(self, column: int, *, known: bool) -> Array:
        if not (known and self._single and self._second is not None and self._rows):
            return np.zeros((len(self._rows), 0))
        return np.stack([row[column] for row in self._rows])

    def _note(self, optimiser: Optimizer, arguments: Any, named: Any) -> None:
        # Opacus' wrapper is an optimiser too; what it hands on is what counts.
        if hasattr(optimiser, "original_optimizer"):
            return
        ours = {id(p) for p in self._parameters}
        if not any(id(p) in ours for group in optimiser.param_groups for p in group["params"]):
            return
        if self._second is None:
            self._second = SecondOptimiser(optimiser, self._parameters)
        self._second.step(optimiser, self._parameters)
        change = self._second.change if self._second.usable else np.zeros(0)
        self._steps.append((gradients_of(self._parameters), change))


def gradients_of(parameters: Sequence[nn.Parameter]) -> Array:
    """Returns the gradients of parameters, flat; 0 where there is none."""
    return flat([torch.zeros_like(p) if p.grad is None else p.grad for p in parameters])


def flat(parts: Sequence[Tensor]) -> Array:
    """Returns all entries of some tensors, one after the other."""
    rows: Array = torch.cat([p.detach().flatten() for p in parts]).cpu().double().numpy()
    return rows


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}
