"""Watches the buffers of a model: what leaves a step beside the weights, without noise."""

import torch
from torch import Tensor, nn

__all__ = ["BufferLog"]


class BufferLog:
    """Changes of a model's buffers, step by step; new ones are held against 0."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._before: dict[str, Tensor] = {}
        self._first: dict[str, Tensor] = {}
        self._largest: dict[str, float] = {}
        self._spread: dict[str, float] = {}

    def begin(self) -> None:
        """Remembers the buffers before a step."""
        self._before = {name: buffer.detach().clone() for name, buffer in self._buffers()}

    def end(self) -> None:
        """Notes what the step changed."""
        for name, buffer in self._buffers():
            before = self._before.get(name)
            now = buffer.detach().double()
            if before is None or before.shape != now.shape:
                before = torch.zeros_like(now)
            change = now - before.double()
            first = self._first.setdefault(name, change)
            same = first.shape == change.shape
            apart = _largest(change - first) if same else _largest(change)
            self._largest[name] = max(self._largest.get(name, 0.0), _largest(change))
            self._spread[name] = max(self._spread.get(name, 0.0), apart)

    def table(self) -> tuple[list[str], list[float], list[float]]:
        """Returns names, largest changes and spreads of the buffers that ever changed."""
        names = sorted(name for name, change in self._largest.items() if change > 0)
        return names, [self._largest[n] for n in names], [self._spread[n] for n in names]

    def _buffers(self) -> list[tuple[str, Tensor]]:
        return list(self._model.named_buffers())


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0
