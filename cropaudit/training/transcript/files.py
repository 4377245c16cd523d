"""Transcripts on disk: one ``.npz`` file of plain arrays and JSON text; nothing is pickled."""

import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from cropaudit.accounting.geometry.crop_laws import ResizedCrop, WholeImage
from cropaudit.accounting.geometry.shapes import Crop
from cropaudit.errors import InputError
from cropaudit.files.atomic import write_atomic
from cropaudit.training.sampling.samplers import SAMPLERS
from cropaudit.training.transcript.transcript import Transcript, TranscriptFacts

__all__ = ["load_transcript", "save_transcript", "transcript_bytes"]

_ARRAYS = ("offsets", "indices", "windows", "flips")
_LAWS = (Crop, ResizedCrop, WholeImage)


def save_transcript(path: Path, transcript: Transcript) -> None:
    """Writes a transcript, whole or not at all."""
    write_atomic(path, transcript_bytes(transcript))


def transcript_bytes(transcript: Transcript) -> bytes:
    """Returns the bytes of a transcript's file; equal transcripts give equal arrays."""
    facts = asdict(transcript.facts)
    for name in ("sampling", "crop"):
        facts[name] = {"kind": type(getattr(transcript.facts, name)).__name__, **facts[name]}
    buffer = io.BytesIO()
    arrays = {name: getattr(transcript, name) for name in _ARRAYS}
    np.savez_compressed(buffer, facts=np.array(json.dumps(facts)), **arrays)
    return buffer.getvalue()


def load_transcript(path: Path) -> Transcript:
    """Reads a transcript of `save_transcript`; nothing is unpickled.

    Raises:
        InputError: If it is no such file, or its arrays do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = _facts(json.loads(str(stored["facts"])))
            transcript = Transcript(facts, **{name: stored[name] for name in _ARRAYS})
    # json's error is a ValueError, so is cropaudit's.
    except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"tape must be a file that training saved, got {path}: {error}") from error
    if not _fits(transcript):
        raise InputError(f"tape must be of arrays that fit together, got {path}")
    return transcript


def _facts(read: dict[str, Any]) -> TranscriptFacts:
    """Reads the head: of its unions the kind is named, all else is as the types say."""
    kinds = {kind.__name__: kind for kind in (*_LAWS, *SAMPLERS.values())}
    for name in ("sampling", "crop"):
        values = dict(read[name])
        read[name] = TypeAdapter(kinds[values.pop("kind")]).validate_python(values)
    return TypeAdapter(TranscriptFacts).validate_python(read)


def _fits(transcript: Transcript) -> bool:
    facts, count = transcript.facts, len(transcript.indices)
    offsets = transcript.offsets
    shaped = transcript.windows.shape == (count, facts.crops_per_image, 4)
    shaped = shaped and transcript.flips.shape == (count, facts.crops_per_image, 2)
    whole = offsets.ndim == transcript.indices.ndim == 1 and len(offsets) > 1
    whole = (
        whole and offsets[0] == 0 and offsets[-1] == count and bool((np.diff(offsets) >= 0).all())
    )
    known = count == 0 or 0 <= transcript.indices.min() <= transcript.indices.max() < facts.records
    return shaped and whole and bool(known) and len(facts.learning_rates) == transcript.steps
