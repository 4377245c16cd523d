"""Masks whose labels are colours: packing, and what to do with colours that no table names.

A pixel of an unknown colour is ignored, as a few stray ones are usual in hand-made labels. A mask
with many of them belongs to another table, or was resized with smoothing, and is refused.
"""

import re
from collections.abc import Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cropaudit.errors import InputError
from cropaudit.training.folder_pictures import read_colours

__all__ = ["pack", "parse", "read_known"]

_MOST_STRAY = 0.01
_HEX = re.compile(r"#[0-9a-fA-F]{6}")


def pack(red: int, green: int, blue: int) -> int:
    """Returns one number for a colour, as `read_colours` does.

    >>> hex(pack(255, 128, 0))
    '0xff8000'
    """
    return (red << 16) | (green << 8) | blue


def parse(text: str, path: Path) -> int:
    """Returns the number of a colour written as "#ff8000".

    Raises:
        InputError: If it is not of this form.
    """
    if _HEX.fullmatch(text) is None:
        raise InputError(f"{path} must name colours as #rrggbb, got {text[:40]!r}")
    return int(text[1:], 16)


def read_known(path: Path, known: Set[int]) -> NDArray[np.int32]:
    """Returns a mask's packed colours.

    Args:
        path: The mask.
        known: Packed colours that the data set names.

    Raises:
        InputError: If the file is no colour PNG, or more than 1% of it is of other colours.
    """
    colours = read_colours(path)
    table = np.fromiter(known, dtype=np.int32, count=len(known))
    stray = colours[~np.isin(colours, table)]
    if stray.size > _MOST_STRAY * colours.size:
        values, counts = np.unique(stray, return_counts=True)
        raise InputError(
            f"mask {path} must bear the colours of its class list, got "
            f"#{int(values[counts.argmax()]):06x} and others on {stray.size / colours.size:.0%} "
            "of its pixels"
        )
    return colours
