"""Claims and subjects: their legal ranges, and the way into the other process and back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cropaudit.accounting.crop_laws import CropLaw, ResizedCrop, WholeImage
from cropaudit.accounting.geometry import Borders, Crop, Rectangle, Size
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.observe.pairs import Pairs
from cropaudit.audit.conformance.observe.store import load, save
from cropaudit.audit.conformance.subjects import STYLES, Subjects
from cropaudit.audit.conformance.worker.request import read_request, written_request
from cropaudit.errors import InputError
from tests.conformance_draws import crop_draws, pairs_of

SMALL = {"image": Size(30, 40), "patch": Rectangle(Size(5, 5))}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patch": Rectangle(Size(31, 5))}, "patch must be at most the image 30x40"),
        ({"crop": Crop(Size(31, 5))}, "crop must be at most the padded image 30x40"),
        ({"crop": Crop(Size(5, 5), 30, "reflect")}, "padding must be below the sides"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"records": -1}, "records must be at least 1"),
        ({"batch": 9, "records": 8}, "batch must be at most the 8 records"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"crops": 0}, "crops must be at least 1"),
        ({"noise_multiplier": -1.0}, "noise must be at least 0"),
        ({"noise_multiplier": float("inf")}, "noise must be at least 0 and finite"),
        ({"noise_multiplier": float("nan")}, "noise must be at least 0"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"epsilon": -0.1}, "epsilon must be at least 0 and finite"),
        ({"epsilon": float("inf")}, "epsilon must be at least 0 and finite"),
        ({"delta": 1.0}, r"delta must be in \(0, 1\)"),
        ({"inclusion": 1.1}, r"inclusion must be in \[0, 1\]"),
        ({"inclusion": float("nan")}, "inclusion must be in"),
    ],
)
def test_illegal_claims_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Claimed(**{**SMALL, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"transform": ""}, "subject must be given as --transform"),
        ({"transform": "crop.py"}, "transform must be path/to/file.py:Name"),
        ({"transform": ":crop"}, "transform must be path/to/file.py:Name"),
        ({"model": "crop.py:"}, "model must be path/to/file.py:Name"),
        ({"loss": "a:b"}, "subject must be given"),
        ({"transform": "a:b", "style": "tf"}, "style must be one of v2, v1, pil"),
        ({"transform": "a:b", "epochs": 0}, "epochs must be at least 1"),
        ({"transform": "a:b", "seed": -1}, "seed must be at least 0"),
        ({"transform": "a:b", "seed": 2**63}, "seed must be at least 0 and below"),
        ({"transform": "a:b", "call_limit": 0.0}, "time limit must be above 0"),
        ({"transform": "a:b", "call_limit": float("nan")}, "time limit must be above 0"),
    ],
)
def test_illegal_subjects_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Subjects(**changes)


@pytest.mark.parametrize("style", ["", *STYLES])
def test_legal_subjects(style: str) -> None:
    assert Subjects(transform="a/b:c.py:Name.inner", style=style).style == style


@pytest.mark.parametrize(
    "crop",
    [
        None,
        Crop(Size(9, 8)),
        Crop(Size(9, 8), 3, "reflect", True, 0.5, 0.25),
        Crop(Size(9, 8), Borders(1, 2, 3, 4), "edge"),
        ResizedCrop(Size(9, 8)),
        ResizedCrop(Size(9, 8), (0.2, 0.9), (0.5, 2.0)),
        WholeImage(),
    ],
)
def test_requests_come_back_as_they_were(crop: CropLaw | None, tmp_path: Path) -> None:
    subjects = Subjects(
        transform="a.py:b", style="v1", data=tmp_path, seed=7, call_limit=1.5, quick=True
    )
    claimed = Claimed(**SMALL, crop=crop, inclusion=0.25, sampler="shuffle", batch=3, records=9)
    text = written_request(subjects, claimed)
    assert read_request(json.loads(text)) == (subjects, claimed)
    alone = Subjects(model="a:b", channels_last=True)
    assert read_request(json.loads(written_request(alone, Claimed()))) == (alone, Claimed())


# Observations on disk.


def test_observations_come_back_bit_for_bit(tmp_path: Path) -> None:
    draws, pairs = crop_draws(np.random.default_rng(0), 50, where="a.py:3"), pairs_of([-1, 3])
    for kind, item in ((Draws, draws), (Pairs, pairs)):
        path = tmp_path / f"{kind.__name__}.npz"
        save(item, path)
        again = load(kind, path)
        for name, value in vars(item).items():
            other = getattr(again, name)
            assert type(other) is type(value) or isinstance(value, np.ndarray)
            assert np.array_equal(other, value, equal_nan=name == "fit")
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"] * 2


def test_objects_are_neither_written_nor_read(tmp_path: Path) -> None:
    sound = crop_draws(np.random.default_rng(0), 5)
    draws = replace(sound, top=np.array([print] * 5))
    with pytest.raises(TypeError, match="plain arrays only, not top"):
        save(draws, tmp_path / "draws.npz")
    path = tmp_path / "evil.npz"
    np.savez(path, **{**vars(sound), "top": np.array([print])})
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load(Draws, path)
