"""Arrays of numbers from ``.npy`` files that a user hands in; nothing is unpickled."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cropaudit.errors import InputError

__all__ = ["read_numbers"]


def read_numbers(path: Path, what: str, kinds: str) -> NDArray[np.float64]:
    """Reads a ``.npy`` file.

    Args:
        path: The file.
        what: What it holds, for messages.
        kinds: Legal kinds of numbers, as numpy's ``dtype.kind`` names them.

    Raises:
        InputError: If it is no such file.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{what} {path} must be an existing .npy file") from None
    except (OSError, ValueError, EOFError) as error:
        words = " ".join(str(error).split())
        raise InputError(f"{what} {path} must be a .npy file of numbers: {words}") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in kinds:
        raise InputError(f"{what} {path} must be a .npy file of numbers")
    return values.astype(np.float64)
