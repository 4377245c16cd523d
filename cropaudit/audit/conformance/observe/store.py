"""Observations on disk: one ``.npz`` each, of plain arrays; nothing is pickled or unpickled.

An observation is a frozen dataclass whose fields are arrays of numbers, bytes (uint8) or text,
numbers, or strings. The process that ran the user's code writes it; ours reads it, and so has
nothing of the user's to execute.
"""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

__all__ = ["load", "save"]

T = TypeVar("T")


def save(observed: Any, path: Path) -> None:
    """Writes an observation, whole or not at all."""
    arrays = {item.name: np.asarray(getattr(observed, item.name)) for item in fields(observed)}
    wrong = [name for name, array in arrays.items() if array.dtype == object]
    if wrong:
        raise TypeError(f"observations hold plain arrays only, not {', '.join(wrong)}")
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    os.replace(partial, path)


def load(kind: type[T], path: Path) -> T:
    """Reads an observation; numbers and strings come back as such."""
    with np.load(path, allow_pickle=False) as archive:
        found = {item.name: archive[item.name] for item in fields(kind)}  # type: ignore[arg-type]
    plain = {name: array.item() if array.ndim == 0 else array for name, array in found.items()}
    return kind(**plain)
