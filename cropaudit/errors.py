"""Errors that a user can mend, and the one validator that words them.

Every message names the parameter, its legal range and the value that was given, on one line; the
command line prints it and leaves with exit code 2. What a message echoes may come from a hostile or
a broken file: it is cut, and what a terminal could not print is escaped.
"""

import reprlib

__all__ = ["CropauditError", "InputError", "require", "shown"]

_MESSAGE = 1500  # characters of a whole message; the longest list of legal values takes a third
_VALUE = 240  # of one value, so that a path is whole nearly always
_DIGITS = 10**40  # whole numbers up to here are written out

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _VALUE
_BRIEF.maxlevel = 3


class CropauditError(Exception):
    """Base of the errors that cropaudit raises on purpose."""

    def __str__(self) -> str:
        """Returns the message, printable and of bounded length."""
        lines = super().__str__().splitlines()
        return _cut(_printable(" ".join(line.strip() for line in lines)), _MESSAGE)


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
        raise InputError(f"{name} must be {legal}, got {shown(value)}")


def shown(value: object) -> str:
    r"""Returns a value for a message: as ``str`` would, but of bounded length and printable.

    Containers are never written out whole, since a few lines of YAML can hold gigabytes.

    >>> shown("a\nb"), shown(10**5000), shown("x" * 1000)[-12:]
    ('a\\nb', 'a whole number of 16610 bits', 'xxxxxxxxxxxx')
    """
    match value:
        case bool() | None:
            return str(value)
        case int():
            digits = abs(value) < _DIGITS  # str() of a long one is refused by Python
            return str(value) if digits else f"a whole number of {value.bit_length()} bits"
        case list() | tuple() | dict() | set() | frozenset():
            text = _BRIEF.repr(value)
        case _:
            text = str(value)
    return _cut(_printable(text), _VALUE)


def _printable(text: str) -> str:
    """Returns text with control characters and lone surrogates escaped."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter == " " else ascii(letter)[1:-1] for letter in text
    )


def _cut(text: str, most: int) -> str:
    """Returns text of at most so many characters; the middle goes, as paths are told by ends."""
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]}...{text[len(text) - (most - head - 3) :]}"
