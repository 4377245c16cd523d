"""Habits of calling transforms, on real objects of each library; and wrong types of many kinds."""

import os
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.probes.codes import (
    image_code,
    mask_code,
    read_image,
    read_mask,
)
from cropaudit.audit.conformance.probes.reading import read_window
from cropaudit.audit.conformance.probes.styles import Style, find_style, styles_named
from cropaudit.audit.conformance.subjects import STYLES
from cropaudit.audit.conformance.worker.guard import Guard, UserError

SIZE = Size(40, 50)
IMAGE, MASK = image_code(SIZE), mask_code(SIZE)
# kornia compiles functions in a way that torch is about to drop; it is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def library(name: str) -> ModuleType:
    """Returns an optional library, or skips and says so loudly."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    reason = f"{name.upper()} IS ABSENT: its habit goes untested"
    return pytest.importorskip(name, reason=reason, exc_type=ImportError)


def guard() -> Guard:
    return Guard("transform", None, lambda: None)


def style_of(transform: Any, name: str = "") -> Style:
    return find_style(transform, name, guard(), IMAGE, MASK)


def cut(transform: Any, style: Style) -> tuple[int, int]:
    """Returns the size of one window, after it was read off image and mask alike."""
    image, mask = style.call(transform, IMAGE, MASK, guard())
    found = read_window(read_image(image, SIZE), SIZE)
    assert found is not None
    assert found.exact
    if mask is not None:
        assert read_window(read_mask(mask, SIZE), SIZE) == found
    return found.rows.length, found.columns.length


def on_arrays(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    top, left = np.random.default_rng(3).integers((29, 31))
    return image[top : top + 12, left : left + 20], mask[top : top + 12, left : left + 20]


def on_pictures(image: Image.Image, mask: Image.Image) -> tuple[Image.Image, Image.Image]:
    return image.crop((3, 4, 23, 16)), mask.crop((3, 4, 23, 16))


def on_floats(image: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if not image.is_floating_point():
        raise TypeError("images must be floats")
    return image[..., 4:16, 3:23], mask[..., 4:16, 3:23]


def as_dict(image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    return {"image": image[4:16, 3:23], "mask": mask[4:16, 3:23]}


def only_named(*, image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    return as_dict(image, mask)


@pytest.mark.parametrize(
    ("transform", "name", "detail"),
    [
        (v2.RandomCrop((12, 20)), "v2", "image of bytes"),
        (v2.Compose([v2.RandomCrop((12, 20)), v2.RandomHorizontalFlip()]), "v2", "image of bytes"),
        (v2.Compose([v2.RandomCrop((12, 20)), v2.ToDtype(torch.float32, scale=True)]), "v2", ""),
        (on_floats, "v2", "image of floats"),
        (v1.RandomCrop((12, 20)), "v1", "no mask"),
        (v1.Compose([v1.RandomCrop((12, 20)), v1.ToTensor()]), "v1", "no mask"),
        (on_pictures, "pil", "mode I"),
        (on_arrays, "numpy", "arrays"),
        (only_named, "albumentations", "image= and mask="),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_each_habit_is_found_by_trial(transform: Any, name: str, detail: str) -> None:
    style = style_of(transform)
    assert (style.name, detail in style.detail) == (name, True)
    assert cut(transform, style) == (12, 20)
    assert style_of(transform, name) == style


def test_albumentations() -> None:
    made = library("albumentations").Compose([library("albumentations").RandomCrop(12, 20)])
    style = style_of(made)
    assert (style.name, cut(made, style)) == ("albumentations", (12, 20))
    alone = library("albumentations").RandomCrop(12, 20)
    assert (style_of(alone).name, cut(alone, style)) == ("albumentations", (12, 20))


def test_kornia() -> None:
    kinds = library("kornia").augmentation
    both = kinds.AugmentationSequential(kinds.RandomCrop((12, 20)), data_keys=["input", "mask"])
    style = style_of(both)
    assert (style.name, cut(both, style)) == ("kornia", (12, 20))
    alone = kinds.RandomCrop((12, 20))
    assert style_of(alone).detail.endswith("no mask")
    assert cut(alone, style_of(alone)) == (12, 20)


def test_timm() -> None:
    library("timm")
    from timm.data import create_transform

    made = create_transform(input_size=(3, 12, 20), is_training=True)
    style = style_of(made)
    image, mask = style.call(made, IMAGE, MASK, guard())
    assert (style.name, image.shape, mask) == ("v1", (12, 20, 3), None)


def test_every_name_has_a_habit() -> None:
    assert all(styles_named(name) for name in STYLES)
    with pytest.raises(UserError) as caught:
        style_of(v1.RandomCrop(12), "albumentations")
    assert caught.value.trouble.kind == "raised"


def narrow(image: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return image[:, 4:14, 5:8], mask[4:14, 5:8]


def test_a_tensor_of_three_columns_is_no_image_of_three_rows() -> None:
    assert cut(narrow, style_of(narrow)) == (10, 3)


# Wrong types.


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda i, m: None, "returned NoneType, not (image, mask)"),
        (lambda i, m: i, "not (image, mask)"),
        (lambda i, m: (i, m, m), "returned tuple of 3, not (image, mask)"),
        (lambda i, m: (i, "mask"), "returned str, not an image with its mask"),
        (lambda i, m: (i[0], m), "not one of three colours"),
        (lambda i, m: (i[..., :0], m), "not one of three colours"),
        (lambda i, m: (i, m[:5]), "with a mask of 5x50 pixels"),
        (lambda i, m: (i, m[..., None, None].repeat(1, 1, 2, 2)), "returned a mask of shape"),
        (lambda i, m: (torch.stack([i, i]), m), "not one of three colours"),
        (lambda i, m: {"image": i}, "returned dict, not (image, mask)"),
        (lambda i, m: 3.0, "returned float"),
    ],
)
def test_a_wrong_type_is_named(returned: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        style_of(returned, "v2")
    assert caught.value.trouble.kind == "type"
    assert words in caught.value.trouble.words


@pytest.mark.parametrize("returned", [None, 3.0, "pair", (), (1, 2), {"mask": 1}])
def test_a_wrong_type_is_told_by_trial_as_well(returned: Any) -> None:
    with pytest.raises(UserError, match="returned") as caught:
        style_of(lambda *arguments, **named: returned)
    assert caught.value.trouble.kind == "type"


def test_any_kind_of_number_is_read_and_nothing_else() -> None:
    def halved(image: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return image.to(torch.bfloat16).requires_grad_(), mask

    assert style_of(halved).call(halved, IMAGE, MASK, guard())[0].dtype == np.float32
    for kind in (object, complex, "U3"):
        with pytest.raises(UserError, match="not of real numbers"):
            style_of(lambda image, mask, kind=kind: (image.astype(kind), mask), "numpy")


def test_what_raises_in_every_habit_is_told_with_its_line() -> None:
    def broken(image: Any, mask: Any) -> Any:
        raise ValueError("no such luck")

    with pytest.raises(UserError) as caught:
        style_of(broken)
    trouble = caught.value.trouble
    assert (trouble.kind, trouble.words) == ("raised", "ValueError: no such luck")
    line = broken.__code__.co_firstlineno + 1
    assert trouble.where == f"{__file__}:{line}"


# Inputs are left alone.


@pytest.mark.parametrize("name", STYLES)
def test_a_change_in_place_is_seen_in_every_habit(name: str) -> None:
    def spoil(*arguments: Any, **named: Any) -> None:
        for item in (*arguments, *named.values()):
            if isinstance(item, Image.Image):
                item.putpixel((1, 1), 0)
            else:
                item[..., 1:2, 1:2] = 0

    def still(*arguments: Any, **named: Any) -> None:
        return None

    for style in styles_named(name):
        assert not style.leaves_alone(spoil, IMAGE, MASK, guard())
        assert style.leaves_alone(still, IMAGE, MASK, guard())
    assert (image_code(SIZE) == IMAGE).all(), "copies are handed out"
