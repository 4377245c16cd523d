"""How much memory a computation takes at its peak, on any device, counted in tensors.

Counts the storage of every tensor that an operation returns, for as long as anything holds it.
Scratch space inside an operation is not seen, nor what was there before.
"""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["PeakMemory"]


class PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts within its ``with`` block.

    Attributes:
        live: Bytes held now.
        peak: The most bytes held at once.

    >>> import torch
    >>> with PeakMemory() as memory:
    ...     for _ in range(3):
    ...         block = torch.zeros(1000, dtype=torch.uint8)
    >>> memory.peak  # the new block is there before the old one goes
    2000
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live: int = 0
        self.peak: int = 0
        self._held: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs an operation and counts what it returns."""
        known = {id(storage) for storage in _storages((args, kwargs))} - self._held.keys()
        returned = func(*args, **(kwargs or {}))
        for storage in _storages(returned):
            if id(storage) not in self._held and id(storage) not in known:
                self._count(storage)
        self.peak = max(self.peak, self.live)
        return returned

    def _count(self, storage: UntypedStorage) -> None:
        self._held[id(storage)] = storage.nbytes()
        self.live += storage.nbytes()
        weakref.finalize(storage, self._forget, id(storage)).atexit = False

    def _forget(self, key: int) -> None:
        self.live -= self._held.pop(key)


def _storages(tree: Any) -> list[UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if type(leaf) is Tensor]
