"""What sections are made of: closed, frozen models, names out of registries, and kinds told apart.

A value that is one of several is a ``Literal``, a name of a registry (`Named`), or the kind of a
section that has other keys for each kind (`by_kind`); `enumerated_keys` yields them all.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    GetCoreSchemaHandler,
)
from pydantic_core import CoreSchema, core_schema

from cropaudit.accounting.geometry.shapes import Size
from cropaudit.errors import InputError
from cropaudit.faults import sections_of

__all__ = ["Named", "Section", "SizeText", "by_kind", "chosen_values", "enumerated_keys"]
__all__ += ["refuse_switches"]

SizeText = Annotated[str, BeforeValidator(lambda value: str(Size.parse(value)))]


class Section(BaseModel):
    """One section."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Named:
    """Marks a text as a name of a registry, which is loaded only when a name is given.

    Attributes:
        names: Returns the legal names.
    """

    names: Callable[[], Iterable[str]]

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        """Checks names as they are when a configuration is read."""
        return core_schema.no_info_after_validator_function(self._check, core_schema.str_schema())

    def _check(self, name: str) -> str:
        legal = tuple(self.names())
        if name not in legal:
            raise ValueError(f"must be one of {', '.join(legal)}, got {name}")
        return name


def refuse_switches(values: dict[str, Any], *models: type[BaseModel], path: str = "") -> None:
    """Raises where a number or a text is given as a switch: pydantic reads YAML's ``yes`` as 1.

    Args:
        values: As read.
        models: Whose keys they may be.
        path: Of the section.

    Raises:
        InputError: If a value is true or false, and its key takes neither.
    """
    for key, value in values.items():
        known = [model.model_fields[key] for model in models if key in model.model_fields]
        if isinstance(value, dict):
            inner = [section for field in known for section in sections_of(field)]
            refuse_switches(value, *inner, path=f"{path}{key}.")
        elif isinstance(value, bool) and known and known[0].annotation is not bool:
            raise InputError(f"{path}{key}: must be a number or text, got {value}")


def by_kind(key: str, usual: str, tags: Callable[[], Mapping[str, str]]) -> tuple[Any, Any]:
    """Returns the marks of a union of sections that differ in their ``key``.

    Keys that are null or empty are left out: an earlier version saved those of all kinds.

    Args:
        key: What names the kind.
        usual: The kind that is meant where none is named.
        tags: Returns the section, by its name, of every kind.
    """

    def told(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        given = {key: usual} | {k: v for k, v in value.items() if v is not None and v != []}
        kind, legal = str(given[key]), tags()
        if kind not in legal:
            raise ValueError(f"{key} must be one of {', '.join(legal)}, got {kind}")
        return given

    def tag(value: Any) -> str | None:
        kind = value.get(key) if isinstance(value, dict) else getattr(value, key, usual)
        return tags().get(str(kind))

    return Discriminator(tag), BeforeValidator(told)


def enumerated_keys(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    """Yields every dotted key of a configuration that takes one of several values, with each."""
    for name, field in model.model_fields.items():
        for section in sections_of(field):
            yield from enumerated_keys(section, f"{path}{name}.")
        yield from ((path + name, value) for value in _choices(field.annotation, field.metadata))


def chosen_values(config: BaseModel, path: str = "") -> Iterator[tuple[str, object]]:
    """Yields the enumerated keys of a configuration with what it has chosen."""
    keys = {key for key, _ in enumerated_keys(type(config))}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from chosen_values(value, f"{path}{name}.")
        elif name in keys:
            yield from (
                (path + name, item) for item in (value if isinstance(value, tuple) else (value,))
            )


def _choices(kind: Any, metadata: Iterable[Any] = ()) -> Iterator[str]:
    named = [mark for mark in metadata if isinstance(mark, Named)]
    if named:
        yield from named[0].names()
    elif get_origin(kind) is Literal:
        yield from (value for value in get_args(kind) if isinstance(value, str))
    elif get_origin(kind) is Annotated:
        yield from _choices(kind.__origin__, kind.__metadata__)
    else:
        for part in get_args(kind):
            yield from _choices(part)
