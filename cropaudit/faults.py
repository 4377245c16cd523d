"""The first fault of a pydantic validation as one line: the key, what is legal, what was given."""

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
    key = ".".join(shown(part) for part in fault["loc"]) or name
    match fault["type"]:
        case "extra_forbidden":
            legal = ", ".join(_known_keys(model, fault["loc"][:-1]))
            message = f"{key} must be a known key ({legal}), got {shown(fault['loc'][-1])}"
        case "missing":
            message = f"{key} must be given"
        case "model_type":
            message = f"{key}: must be a section of keys, got {shown(fault['input'])}"
        case "value_error":  # our own words, which name the value where there is one
            message = f"{key}: {fault['msg'].removeprefix('Value error, ')}"
        case _:
            message = f"{key}: {_legal(fault)}, got {_shown(fault['input'])}"
    return " ".join(message.split())


def _known_keys(model: type[BaseModel], sections: tuple[int | str, ...]) -> tuple[str, ...]:
    for part in sections:
        inner = model.model_fields[str(part)].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return tuple(model.model_fields)


def _legal(fault: ErrorDetails) -> str:
    words = fault["msg"].replace("Input should be", "must be", 1)
    return words.partition(", got ")[0]


def _shown(value: object) -> str:
    return "a section" if isinstance(value, dict) else shown(value)
