"""The ``--set key=value`` of a command line."""

from collections.abc import Sequence
from typing import Any

import yaml

from cropaudit.errors import InputError

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
        try:
            found[key] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise InputError(f"--set {key} must have a YAML value, got {value}") from None
    return found
