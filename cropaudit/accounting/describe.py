"""Mechanisms as JSON: the description, nothing composed. Read back it gives equal mechanisms."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cropaudit.accounting.mechanisms import Mechanism
from cropaudit.accounting.registry import MECHANISMS
from cropaudit.errors import InputError, require

__all__ = ["from_json", "read_mechanisms", "to_json"]

_FORMAT = "cropaudit-mechanisms-1"


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
    require(legal, "mechanism file", f"of format {_FORMAT}", _shown(found))
    phases = found.get("phases")
    if not isinstance(phases, list) or not phases:
        raise InputError(f"mechanism file must hold a list of phases, got {_shown(phases)}")
    return tuple(_phase(item) for item in phases)


def read_mechanisms(path: Path) -> tuple[Mechanism, ...]:
    """Reads a file that `to_json` wrote.

    Raises:
        InputError: If it cannot be read or is not that.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"mechanism file {path} must be readable text, got {error}") from None
    return from_json(text)


def _phase(item: Any) -> Mechanism:
    if not isinstance(item, dict) or item.get("kind") not in MECHANISMS:
        kind = item.get("kind") if isinstance(item, dict) else _shown(item)
        raise InputError(f"mechanism kind must be one of {', '.join(MECHANISMS)}, got {kind}")
    kind = MECHANISMS[item["kind"]]
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
    fits = (fits and not isinstance(value, bool)) or (key == "epochs" and value is None)
    require(fits, key, "a whole number" if whole else "a number", _shown(value))


def _shown(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 60 else text[:57] + "..."
