"""The configuration that a command line describes: a preset or a file, ``--set``, and options."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cropaudit.errors import InputError
from cropaudit.files.yaml_text import parse_yaml

if TYPE_CHECKING:
    from cropaudit.audit.config.audit_config import AuditConfig

__all__ = ["assignments", "configured"]

_KEYS = {
    "data": "data.folder",
    "seed": "seed",
    "claim_epsilon": "claim.epsilon",
    "claim_family": "claim.family",
    "claim": "claim.shortcut",
}
"""The key that each option stands for."""


def configured(given: Mapping[str, Any]) -> "AuditConfig":
    """Returns the configuration that options describe; those beside ``--set`` win.

    Args:
        given: The options, by their names in Python.

    Raises:
        InputError: If one of them, or the configuration, cannot be used.
    """
    from cropaudit.audit.config.audit_config import load_config

    settings = assignments(given["changes"] or [])
    for option, key in _KEYS.items():
        value = given.get(option)
        if value is not None:
            number = isinstance(value, int | float)
            text = _shortcut(value) if option == "claim" else str(value)
            settings[key] = value if number else text
    return load_config(given["config"], settings)


def assignments(texts: Sequence[str]) -> dict[str, Any]:
    """Returns the values by their dotted keys.

    Raises:
        InputError: If a text is no assignment, or its value is not YAML.

    >>> assignments(["training.batch=8", "data.folder=null"])
    {'training.batch': 8, 'data.folder': None}
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"--set must be key=value, got {text}")
        found[key] = parse_yaml(value, f"--set {key}")
    return found


def _shortcut(claim: str) -> str:
    kind, colon, name = claim.partition(":")
    if kind != "shortcut" or not colon or not name:
        raise InputError(f"claim must be shortcut:NAME, got {claim}")
    return name
