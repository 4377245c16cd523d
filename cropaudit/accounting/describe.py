"""Mechanisms as JSON: the description, nothing composed. Read back it gives equal mechanisms."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cropaudit.accounting.mechanisms import MOST_PHASES, Mechanism
from cropaudit.accounting.registry import MECHANISMS
from cropaudit.errors import InputError, require, shown

__all__ = ["from_json", "read_mechanisms", "to_json"]

_FORMAT = "cropaudit-mechanisms-1"
_MOST_BYTES = 1 << 20  # as many phases as are composed take a tenth of it
_LARGEST = 1e300  # a whole number beyond is no number of the computations


def to_json(mechanisms: Sequence[Mechanism]) -> str:
    """Returns phases that run one after the other as JSON."""
    phases = [
        {"kind": item.kind, "adjacency": item.adjacency, **dataclasses.asdict(item)}
        for item in mechanisms
    ]
    return json.dumps({"format": _FORMAT, "phases": phases}, indent=2)


def from_json(text: str) -> tuple[Mechanism, ...]:
    """Returns the phases that `to_json` wrote.

    Raises:
        InputError: If the text is not that, or a value is out of range.

    >>> from cropaudit.accounting.mechanisms import PoissonPatch
    >>> from_json(to_json([PoissonPatch(1.0, 0.1, 0.3, 100)]))[0].inclusion
    0.3
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"mechanism file must be JSON, got {error}") from None
    legal = isinstance(found, dict) and found.get("format") == _FORMAT
    require(legal, "mechanism file", f"of format {_FORMAT}", found)
    phases = found.get("phases")
    if not isinstance(phases, list) or not phases:
        raise InputError(f"mechanism file must hold a list of phases, got {shown(phases)}")
    require(len(phases) <= MOST_PHASES, "phases", f"at most {MOST_PHASES}", len(phases))
    return tuple(_phase(item) for item in phases)


def read_mechanisms(path: Path) -> tuple[Mechanism, ...]:
    """Reads a file that `to_json` wrote.

    Raises:
        InputError: If it cannot be read or is not that.
    """
    try:
        size = path.stat().st_size
        require(size <= _MOST_BYTES, "mechanism file", f"of at most {_MOST_BYTES} bytes", size)
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"mechanism file {path} must be readable text, got {error}") from None
    return from_json(text)


def _phase(item: Any) -> Mechanism:
    named: Any = item.get("kind") if isinstance(item, dict) else item
    legal = isinstance(item, dict) and isinstance(named, str) and named in MECHANISMS
    require(legal, "mechanism kind", f"one of {', '.join(MECHANISMS)}", named)
    kind = MECHANISMS[named]
    values = {key: value for key, value in item.items() if key not in ("kind", "adjacency")}
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(fields))
    require(not unknown, "mechanism keys", f"among {', '.join(fields)}", ", ".join(unknown))
    for key, value in values.items():
        _require_type(key, value)
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"mechanism {item['kind']} must have its keys, got {error}") from None


def _require_type(key: str, value: Any) -> None:
    whole = key in ("steps", "crops", "epochs")
    fits = isinstance(value, int) if whole else isinstance(value, int | float)
    fits = fits and not isinstance(value, bool) and abs(value) <= _LARGEST
    fits = fits or (key == "epochs" and value is None)
    require(fits, key, "a whole number" if whole else "a number", value)
