"""What a loader tells of its sampler: stated rates, workers, and batches that are split up.

Opacus' BatchMemoryManager hands out a batch in pieces, and tells its optimiser which piece is the
last; here that is listened to, so that pieces of one batch count as one.
"""

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["Pieces", "stated_rate", "takes_dataset", "workers_of"]


class Pieces:
    """Tells which of a loader's batches are followed by another piece of the same batch."""

    def __init__(self, loader: Any) -> None:
        """Listens to the loader's sampler, if that splits batches."""
        self._skips: list[bool] | None = None
        splitter = getattr(loader, "batch_sampler", loader)
        signals = getattr(getattr(splitter, "optimizer", None), "signal_skip_step", None)
        if signals is not None and hasattr(splitter, "max_batch_size"):
            self._skips = []
            splitter.optimizer = _Listening(signals, self._skips)

    def continues(self, batch: int) -> bool:
        """Returns whether the batch of this number, over all epochs, is not the last piece."""
        if self._skips is None or batch >= len(self._skips):
            return False
        return self._skips[batch]

    def restart(self) -> None:
        """Forgets pieces that were announced ahead and not fetched: an epoch has ended."""
        if self._skips is not None:
            self._skips.clear()


class _Listening:
    """Stands for an optimiser where a sampler signals to it."""

    def __init__(self, signal: Callable[..., Any], skips: list[bool]) -> None:
        self._signal = signal
        self._skips = skips

    def signal_skip_step(self, do_skip: bool = True) -> None:
        """Notes the signal and passes it on."""
        self._skips.append(do_skip)
        self._signal(do_skip=do_skip)


def stated_rate(loader: Any) -> float:
    """Returns the sampling rate that a loader or its sampler states, or -1."""
    sampler = getattr(loader, "batch_sampler", None)
    for item in (loader, sampler, getattr(sampler, "sampler", None)):
        rate = getattr(item, "sample_rate", None)
        if isinstance(rate, (int, float)):
            return float(rate)
    return -1.0


def workers_of(loader: Any) -> int:
    """Returns the number of worker processes of a loader."""
    workers = getattr(loader, "num_workers", 0)
    return workers if isinstance(workers, int) else 0


def takes_dataset(made: Any) -> bool:
    """Returns whether a loader's factory takes our data set; a loader itself is no factory."""
    if hasattr(made, "__iter__") and not inspect.isclass(made):
        return False
    try:
        parameters = inspect.signature(made).parameters.values()
    except (TypeError, ValueError):
        return False
    single = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in (*single, inspect.Parameter.VAR_POSITIONAL) for p in parameters)
