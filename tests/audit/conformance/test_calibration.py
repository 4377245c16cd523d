"""A constant normalisation after the crop is undone; whatever else changes colours is not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.probes.calibration import calibrated
from cropaudit.audit.conformance.probes.codes import image_code, mask_code
from cropaudit.audit.conformance.probes.styles import styles_named
from cropaudit.audit.conformance.worker.guard import Guard

SIZE = Size(40, 60)
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

Transform = Callable[[torch.Tensor, torch.Tensor], Any]


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Copies of this process must not wait for threads that they do not have."""


def after(transform: Transform) -> Any:
    """Returns the output for the coded image, brought back to bytes where that can be done."""
    style = styles_named("v2")[0]
    guard = Guard("transform", None, lambda: None)
    found = calibrated(transform, style, guard, SIZE)
    image, _ = found.call(transform, image_code(SIZE), mask_code(SIZE), guard)
    return found is not style, image


def normalised(image: torch.Tensor, mask: torch.Tensor) -> Any:
    return v2.functional.normalize(image.float() / 255, MEAN, DEVIATION), mask


def test_a_normalisation_is_undone_to_the_byte() -> None:
    changed, image = after(normalised)
    assert changed
    assert np.abs(image - image_code(SIZE)).max() < 1e-3


def test_padding_of_a_minority_is_no_obstacle() -> None:
    pad = v2.Pad(4)
    changed, image = after(lambda image, mask: normalised(*pad(image, mask)))
    assert changed
    assert np.abs(image[4:-4, 4:-4] - image_code(SIZE)).max() < 1e-3


@pytest.mark.parametrize(
    "transform",
    [
        lambda image, mask: (image, mask),
        lambda image, mask: (image.float() / 255, mask),
        v2.Compose([v2.ColorJitter(brightness=0.5)]),
        lambda image, mask: ((image.float() - image.float().mean()) / image.float().std(), mask),
        lambda image, mask: (torch.zeros_like(image), mask),
        lambda image, mask: (image + torch.randint(0, 9, image.shape), mask),
    ],
    ids=["bytes", "floats", "jitter", "standardised", "black", "noise"],
)
def test_nothing_else_is_touched(transform: Transform) -> None:
    assert not after(transform)[0]


def test_code_that_refuses_flat_images_is_left_alone() -> None:
    def strict(image: torch.Tensor, mask: torch.Tensor) -> Any:
        if image.float().std() == 0:
            raise ValueError("flat")
        return normalised(image, mask)

    assert not after(strict)[0]
