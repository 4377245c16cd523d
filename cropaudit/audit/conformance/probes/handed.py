"""Listens to torch's optimisers: the gradients that they are handed, and a replay of their steps.

Momentum, weight decay or Adam are computed from the noisy mean alone, and so cost no privacy. To
see the mean itself, and to know that the change of the weights is what the optimiser makes of it,
both are recorded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

__all__ = ["Listener"]

_NAMED = ("lr", "momentum", "dampening", "nesterov", "weight_decay", "betas", "eps")


class Listener:
    """Records what optimisers of one model are handed, step by step."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = list(model.parameters())
        self._steps: list[list[Tensor]] = []
        self._settings: list[dict[str, Any]] = []
        self._rows: list[NDArray[np.float64]] = []
        self._replays: list[NDArray[np.float64]] = []
        self._sound = True
        self._seen: Optimizer | None = None
        self._twin: Optimizer | None = None
        self._weights: list[nn.Parameter] = []
        self._replayable = True

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
        size = sum(p.numel() for p in self._parameters)
        if len(self._steps) > 1:
            self._sound = False
        nothing = np.zeros(size)
        if not self._steps:
            self._rows.append(nothing)
            self._replays.append(nothing)
            return
        self._rows.append(_flat(self._steps[0]))
        self._replays.append(self._replay(self._steps[0]))

    def handed(self) -> NDArray[np.float64]:
        """Returns the rows, (T, P); no columns if there is not one for each step."""
        return self._table(self._rows)

    def replayed(self) -> NDArray[np.float64]:
        """Returns the twin's changes, (T, P); no columns if it could not be made."""
        return self._table(self._replays if self._replayable else [])

    def words(self) -> str:
        """Returns the optimiser and its settings."""
        if self._seen is None or not self._sound:
            return ""
        group = self._settings[0]
        settings = ", ".join(f"{n}={group[n]}" for n in _NAMED if group.get(n))
        return f"{type(self._seen).__name__}({settings})"

    def _table(self, rows: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        known = self._sound and self._seen is not None and bool(rows)
        return np.stack(rows) if known else np.zeros((len(self._rows), 0))

    def _note(self, optimiser: Optimizer, arguments: Any, named: Any) -> None:
        # Opacus' wrapper is an optimiser too; what it hands on is what counts.
        if hasattr(optimiser, "original_optimizer"):
            return
        ours = {id(p) for p in self._parameters}
        if not any(id(p) in ours for group in optimiser.param_groups for p in group["params"]):
            return
        self._seen = optimiser
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        self._steps.append([g.detach().clone() for g in found])
        # As they are now: a scheduler may move the rate before the logical step has ended.
        self._settings = [_settings(group) for group in optimiser.param_groups]

    def _replay(self, gradients: list[Tensor]) -> NDArray[np.float64]:
        if self._twin is None and self._replayable:
            self._make_twin()
        if self._twin is None or self._seen is None:
            return np.zeros(sum(p.numel() for p in self._parameters))
        for theirs, ours in zip(self._settings, self._twin.param_groups, strict=True):
            ours.update(theirs)
        with torch.no_grad():
            for weight, gradient in zip(self._weights, gradients, strict=True):
                weight.zero_()
                weight.grad = gradient.clone()
        self._twin.step()
        return _flat([weight.detach() for weight in self._weights])

    def _make_twin(self) -> None:
        seen = self._seen
        if seen is None:
            return
        self._weights = [nn.Parameter(torch.zeros_like(p)) for p in self._parameters]
        twins = {id(p): w for p, w in zip(self._parameters, self._weights, strict=True)}
        try:
            groups = [
                {
                    **_settings(group),
                    "params": [twins[id(p)] for p in group["params"]],
                }
                for group in seen.param_groups
            ]
            self._twin = type(seen)(groups)  # type: ignore[call-arg]
        except (TypeError, KeyError, ValueError):
            # An optimiser of the user's own make, or one with parameters besides ours.
            self._replayable = False


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def _flat(parts: list[Tensor]) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = torch.cat([p.flatten() for p in parts]).cpu().double().numpy()
    return rows
