"""The auditor's secret on disk: where the canaries stand, what both worlds show, and the coins.

One ``.npz`` of plain arrays and JSON text; nothing is pickled.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cropaudit.errors import InputError
from cropaudit.training.canaries import CanarySlot

__all__ = ["canary_bytes", "same_canaries"]

_CONTENTS = ("pixels", "texture_a", "texture_b", "labels_a", "labels_b")


def canary_bytes(slots: Sequence[CanarySlot], member: NDArray[np.bool_]) -> bytes:
    """Returns the bytes of a canary file.

    Args:
        slots: The canaries.
        member: Their coins: true for world A.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **_arrays(slots, member))  # type: ignore[arg-type]
    return buffer.getvalue()


def same_canaries(path: Path, slots: Sequence[CanarySlot], member: NDArray[np.bool_]) -> bool:
    """Whether a file holds exactly these canaries and coins.

    Raises:
        InputError: If it is no canary file.
    """
    wanted = _arrays(slots, member)
    try:
        with np.load(path, allow_pickle=False) as stored:
            return set(stored.files) == set(wanted) and all(
                np.array_equal(stored[name], array) for name, array in wanted.items()
            )
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"canaries must be a file that training saved, got {path}") from error


def _arrays(
    slots: Sequence[CanarySlot], member: NDArray[np.bool_]
) -> dict[str, NDArray[np.generic]]:
    facts = [
        {
            "record": slot.record,
            "position": list(slot.position),
            "inclusion": slot.inclusion,
            "miss_gradient": slot.miss_gradient,
            "design": slot.design,
            "name": slot.name,
        }
        for slot in slots
    ]
    found: dict[str, NDArray[np.generic]] = {
        "facts": np.array(json.dumps(facts)),
        "coins": np.asarray(member),
    }
    # Canaries may differ in size, so each has its own arrays.
    for number, slot in enumerate(slots):
        for name in _CONTENTS:
            found[f"{name}_{number}"] = getattr(slot, name).numpy()
    return found
