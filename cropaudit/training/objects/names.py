"""Matches the names that users type with those that data sets use, whatever their case."""

from collections.abc import Iterable, Sequence

from cropaudit.errors import require

__all__ = ["match_names"]

_MOST = 40


def match_names(wanted: Sequence[str], known: Iterable[str]) -> list[str]:
    """Returns the known names that are wanted, each once and in the order wanted.

    Raises:
        InputError: If none is wanted, or one is not known; the message lists those that are.

    >>> match_names(["CAR", "plate"], ["Car", "Person", "plate"])
    ['Car', 'plate']
    """
    require(bool(wanted), "object classes", "at least one", "none")
    there = sorted(set(known), key=str.lower)
    listed = ", ".join(there[:_MOST]) + (
        f" and {len(there) - _MOST} more" if len(there) > _MOST else ""
    )
    found: list[str] = []
    for name in wanted:
        same = [other for other in there if other.lower() == name.strip().lower()]
        require(bool(same), "object class", f"one of {listed}", repr(name))
        found += same
    return list(dict.fromkeys(found))
