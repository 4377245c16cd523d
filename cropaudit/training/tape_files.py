"""Tapes on disk: one ``.npz`` file of plain arrays, one of them JSON text; nothing is pickled."""

import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cropaudit.accounting.crop_laws import CropLaw, ResizedCrop, WholeImage
from cropaudit.accounting.geometry import Borders, Crop, Size
from cropaudit.errors import InputError
from cropaudit.training.atomic import write_atomic
from cropaudit.training.samplers import Cyclic, FixedSize, FullBatch, Poisson, Sampling, Shuffle
from cropaudit.training.tape import RunSeeds, Tape, TapeFacts

__all__ = ["load_tape", "save_tape", "tape_bytes"]

_ARRAYS = ("offsets", "indices", "windows", "flips")
_SAMPLERS: dict[str, type[Sampling]] = {
    kind.__name__: kind for kind in (Poisson, FixedSize, Shuffle, Cyclic, FullBatch)
}


def save_tape(path: Path, tape: Tape) -> None:
    """Writes a tape, whole or not at all."""
    write_atomic(path, tape_bytes(tape))


def tape_bytes(tape: Tape) -> bytes:
    """Returns the bytes of a tape's file; equal tapes give equal arrays."""
    facts = asdict(tape.facts)
    for name in ("sampling", "crop"):
        facts[name] = {"kind": type(getattr(tape.facts, name)).__name__, **facts[name]}
    buffer = io.BytesIO()
    arrays = {name: getattr(tape, name) for name in _ARRAYS}
    np.savez_compressed(buffer, facts=np.array(json.dumps(facts)), **arrays)
    return buffer.getvalue()


def load_tape(path: Path) -> Tape:
    """Reads a tape of `save_tape`; nothing is unpickled.

    Raises:
        InputError: If it is no such file, or its arrays do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = _facts(json.loads(str(stored["facts"])))
            tape = Tape(facts, **{name: stored[name] for name in _ARRAYS})
    # json's error is a ValueError, so is cropaudit's.
    except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"tape must be a file that training saved, got {path}: {error}") from error
    if not _fits(tape):
        raise InputError(f"tape must be of arrays that fit together, got {path}")
    return tape


def _facts(read: dict[str, Any]) -> TapeFacts:
    sampling = dict(read["sampling"])
    found = {
        **read,
        "seeds": RunSeeds(**read["seeds"]),
        "sampling": _SAMPLERS[sampling.pop("kind")](**sampling),
        "crop": _crop(dict(read["crop"])),
        "learning_rates": tuple(read["learning_rates"]),
    }
    return TapeFacts(**found)


def _crop(read: dict[str, Any]) -> CropLaw:
    kind = read.pop("kind")
    if kind == "WholeImage":
        return WholeImage()
    if kind == "Crop":
        padding = read["padding"]
        read["padding"] = Borders(**padding) if isinstance(padding, dict) else padding
        return Crop(**{**read, "size": Size(**read["size"])})
    pairs = {name: tuple(read[name]) for name in ("scale", "ratio")}
    return ResizedCrop(**{**read, **pairs, "output": Size(**read["output"])})


def _fits(tape: Tape) -> bool:
    facts, count = tape.facts, len(tape.indices)
    offsets = tape.offsets
    shaped = tape.windows.shape == (count, facts.crops_per_image, 4)
    shaped = shaped and tape.flips.shape == (count, facts.crops_per_image, 2)
    whole = offsets.ndim == tape.indices.ndim == 1 and len(offsets) > 1
    whole = (
        whole and offsets[0] == 0 and offsets[-1] == count and bool((np.diff(offsets) >= 0).all())
    )
    known = count == 0 or 0 <= tape.indices.min() <= tape.indices.max() < facts.records
    return shaped and whole and bool(known) and len(facts.learning_rates) == tape.steps
