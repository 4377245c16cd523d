"""Errors that a user can mend, and the one validator that words them.

Every message names the parameter, its legal range and the value that was given, on one line; the
command line prints it and leaves with exit code 2.
"""

__all__ = ["CropauditError", "InputError", "require"]


class CropauditError(Exception):
    """Base of the errors that cropaudit raises on purpose."""


class InputError(CropauditError, ValueError):
    """A value, a file or a folder from the user that cannot be used as it is."""


def require(condition: bool, name: str, legal: str, value: object) -> None:
    """Raises unless ``condition`` holds.

    Args:
        condition: Whether the value is legal.
        name: The parameter, as the user knows it.
        legal: Its legal range in words, to be read after "must be".
        value: What was given.

    Raises:
        InputError: If ``condition`` is false.

    >>> require(0 < 2.0 < 1, "delta", "between 0 and 1", 2.0)
    Traceback (most recent call last):
    cropaudit.errors.InputError: delta must be between 0 and 1, got 2.0
    """
    if not condition:
        raise InputError(f"{name} must be {legal}, got {value}")
