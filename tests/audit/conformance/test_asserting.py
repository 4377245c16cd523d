"""`assert_conforms`: objects of a user's own test suite, probed in a copy of this process."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from cropaudit.audit.conformance import assert_conforms
from cropaudit.errors import InputError


class Counted:
    """Crops, and counts its calls in the process that holds it."""

    def __init__(self) -> None:
        self.calls = 0
        self.crop = v2.RandomCrop(40)

    def __call__(self, image: torch.Tensor, mask: torch.Tensor) -> object:
        self.calls += 1
        return self.crop(image, mask)


def test_a_sound_object_passes_and_is_left_as_it_was() -> None:
    """One battery at a level of 1%: it fails by chance with 1%, and the seed is fixed."""
    transform, state = Counted(), torch.random.get_rng_state()
    numbers = np.random.get_state()[1].copy()  # type: ignore[union-attr]  # noqa: NPY002
    battery = assert_conforms(transform, image="96x128", patch=8, crop=40, quick=True)
    assert battery.verdict == "pass"
    assert battery.finding("non-interference").status == "pass"
    assert battery.finding("clipping").status == "skipped"
    assert transform.calls == 0
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numbers)  # type: ignore[index]  # noqa: NPY002


def test_a_broken_object_raises_with_the_cause() -> None:
    def standardised(image: torch.Tensor, mask: torch.Tensor) -> object:
        values = image.float()
        return v2.RandomCrop(40)((values - values.mean()) / values.std(), mask)

    with pytest.raises(AssertionError, match=r"non-interference: .* crops that miss the patch"):
        assert_conforms(standardised, image="96x128", patch=8, crop=40, quick=True)


def test_an_exception_names_this_file_and_line() -> None:
    def broken(image: torch.Tensor, mask: torch.Tensor) -> object:
        raise KeyError("nothing")

    line = broken.__code__.co_firstlineno + 1
    with pytest.raises(AssertionError, match="KeyError") as raised:
        assert_conforms(broken, quick=True)
    assert f"{Path(__file__).name}:{line}" in str(raised.value)


def test_a_copy_that_dies_is_no_pass() -> None:
    def dies(image: torch.Tensor, mask: torch.Tensor) -> object:
        os._exit(3)

    with pytest.raises(AssertionError, match="process died"):
        assert_conforms(dies, quick=True)


def test_a_name_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "own_crop_of_mine.py"
    file.write_text("def crop(image, mask):\n    return None\n")
    with pytest.raises(AssertionError, match=r"returned NoneType.*own_crop_of_mine\.py:1"):
        assert_conforms(f"{file}:crop", quick=True)
    assert "own_crop_of_mine" not in sys.modules


def test_nothing_given_or_both_kinds_is_refused() -> None:
    with pytest.raises(InputError, match="subject must be given"):
        assert_conforms()
    with pytest.raises(InputError, match="subjects must be all objects, or all names"):
        assert_conforms(Counted(), loader="a.py:make")
