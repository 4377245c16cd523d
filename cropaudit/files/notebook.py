"""Results in a notebook: any frozen result as a table of its fields, escaped."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from html import escape
from typing import Any

__all__ = ["Tabled"]

_LONGEST = 200  # letters of a value; the rest is in the field itself


class Tabled:
    """Gives a frozen dataclass or a pydantic model the table that notebooks show."""

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(text)}</td></tr>"
            for name, text in _rows(_parts(self), "")
        )
        return f"<table><caption>{escape(type(self).__name__)}</caption>{rows}</table>"


def _rows(parts: Iterable[tuple[str, Any]], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in parts:
        inner = _parts(value)
        if inner and not prefix:  # one level deep: what lies deeper is read by attribute
            yield from _rows(inner, f"{name}.")
        elif isinstance(value, tuple | list | Mapping) and len(str(value)) > _LONGEST:
            yield prefix + name, f"{len(value)} entries"
        else:
            text = f"{value:.6g}" if isinstance(value, float) else str(value)
            yield prefix + name, text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."


def _parts(value: Any) -> list[tuple[str, Any]]:
    if is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    return [(name, getattr(value, name)) for name in getattr(type(value), "model_fields", ())]
