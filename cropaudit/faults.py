"""The first fault of a pydantic validation as one line: the key, what is legal, what was given."""

from typing import TypeGuard, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cropaudit.errors import shown

__all__ = ["first_fault"]


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
    kinds: tuple[object, ...] = ()
    for part in loc:
        of_kind = [kind for kind in kinds if _is_kind(kind, part)]
        if of_kind:
            model, kinds = of_kind[0], ()
            continue
        kept.append(part)
        field = model.model_fields.get(str(part))
        inner = None if field is None else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model, kinds = inner, ()
        else:
            kinds = get_args(inner)
    return tuple(kept), model


def _is_kind(kind: object, tag: object) -> TypeGuard[type[BaseModel]]:
    """Whether a section is the kind that a tag names."""
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return False
    return tag == kind.__name__


def _legal(fault: ErrorDetails) -> str:
    words = fault["msg"].replace("Input should be", "must be", 1)
    return words.partition(", got ")[0]


def _shown(value: object) -> str:
    return "a section" if isinstance(value, dict) else shown(value)
