"""The ``--set key=value`` of a command line."""

from collections.abc import Sequence
from typing import Any

from cropaudit.errors import InputError
from cropaudit.yaml_text import parse_yaml

__all__ = ["assignments"]


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
