"""The first fault of a pydantic validation as one line: the key, what is legal, what was given."""

from typing import Annotated, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cropaudit.errors import shown

__all__ = ["first_fault", "sections_of"]


def first_fault(error: ValidationError, model: type[BaseModel], name: str = "config") -> str:
    """Returns the first fault in words.

    Args:
        error: What pydantic raised.
        model: The model that it was raised for, to name the known keys.
        name: What to call a fault of the whole.
    """
    fault = error.errors()[0]
    loc, section = _within(model, fault["loc"])
    key = ".".join(shown(part) for part in loc) or name
    match fault["type"]:
        case "extra_forbidden":
            legal = ", ".join(section.model_fields)
            message = f"{key} must be a known key ({legal}), got {shown(loc[-1])}"
        case "missing":
            message = f"{key} must be given"
        case "model_type" | "model_attributes_type":
            message = f"{key}: must be a section of keys, got {shown(fault['input'])}"
        case "value_error":  # our own words, which name the value where there is one
            message = f"{key}: {fault['msg'].removeprefix('Value error, ')}"
        case _:
            message = f"{key}: {_legal(fault)}, got {_shown(fault['input'])}"
    return " ".join(message.split())


def _within(
    model: type[BaseModel], loc: tuple[int | str, ...]
) -> tuple[tuple[int | str, ...], type[BaseModel]]:
    """Returns a place without the tags of kinds that pydantic puts into it, and its section."""
    kept: list[int | str] = []
    kinds: dict[int | str, type[BaseModel]] = {}
    for part in loc:
        if part in kinds:
            model, kinds = kinds[part], {}
            continue
        kept.append(part)
        field = model.model_fields.get(str(part))
        found = [] if field is None else sections_of(field)
        model = found[0] if len(found) == 1 else model
        kinds = {} if len(found) == 1 else {kind.__name__: kind for kind in found}
    return tuple(kept), model


def sections_of(field: FieldInfo) -> list[type[BaseModel]]:
    """Returns the sections that a field may hold, each tagged with its name where they are many."""
    kinds = [field.annotation, *get_args(field.annotation)]
    bare = [get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in kinds]
    return [kind for kind in bare if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _legal(fault: ErrorDetails) -> str:
    words = fault["msg"].replace("Input should be", "must be", 1)
    return words.partition(", got ")[0]


def _shown(value: object) -> str:
    return "a section" if isinstance(value, dict) else shown(value)
