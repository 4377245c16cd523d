"""Options and presets: what is read, what is refused, and which words say so."""

from pathlib import Path

import pytest
from PIL import Image

from cropaudit.accounting.crop_laws import ResizedCrop, WholeImage
from cropaudit.accounting.geometry import Borders, Crop, PixelMask, Rectangle, Several, Size
from cropaudit.bounds.requests import BoundRequest, bound_presets, load_request
from cropaudit.errors import InputError

BASE = {
    "image": "64x64",
    "crop": "16",
    "patch": "4",
    "batch": 10,
    "records": 100,
    "steps": 50,
    "noise": 1.0,
    "delta": 1e-5,
}


def request(**changes: object) -> BoundRequest:
    return load_request(None, {**BASE, **changes})


def test_every_preset_is_whole() -> None:
    assert len(bound_presets()) == 6
    for name in bound_presets():
        found = load_request(name, {})
        pipeline = found.pipeline(solving="noise")
        assert found.title
        assert 0 < found.given_delta() < 1
        assert 0 < pipeline.worst().probability <= 1


def test_options_overrule_a_preset_and_its_rivals() -> None:
    found = load_request("paper-crop-size", {"noise": 2.0, "steps": 10, "crop": "64"})
    assert (found.noise_multiplier(), found.noise_std, found.epochs) == (2.0, None, None)
    assert found.pipeline().crop == Crop(Size(64, 64))
    assert load_request("paper-crop-size", {}).noise_multiplier() == 4 / 2


def test_a_yaml_file_is_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("image: 64\ncrop: 16\npatch: [4, 8x2]\nbatch: 10\nrecords: 100\nsteps: 5\n")
    found = load_request(str(path), {})
    assert found.pipeline().patch == (Rectangle(Size(4, 4)), Rectangle(Size(8, 2)))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Crop(Size(16, 16))),
        ({"padding": "1,2,3,4"}, Crop(Size(16, 16), Borders(top=2, bottom=4, left=1, right=3))),
        (
            {"padding": "3", "padding_mode": "reflect", "flip": 0.5, "pad_if_needed": True},
            Crop(Size(16, 16), 3, "reflect", pad_if_needed=True, horizontal_flip=0.5),
        ),
        ({"crop_law": "none"}, WholeImage()),
        (
            {"crop_law": "resized", "scale": "0.2:1", "interpolation": "bicubic"},
            ResizedCrop(
                Size(16, 16), scale=(0.2, 1.0), ratio=(0.75, 4 / 3), interpolation="bicubic"
            ),
        ),
    ],
)
def test_crop_laws(changes: dict[str, object], expected: object) -> None:
    assert request(**changes).pipeline().crop == expected


def test_patches(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.new("L", (3, 2), 255).save(path)
    patches = request(patch=["4", "disc:2", "2*3x5", f"mask:{path}"]).pipeline().patch
    assert isinstance(patches, tuple)
    kinds = [type(item) for item in patches]
    assert kinds == [Rectangle, PixelMask, Several, PixelMask]


def test_images_may_be_a_folder(tmp_path: Path) -> None:
    for at, size in enumerate([(64, 48), (80, 64), (64, 48)]):
        Image.new("RGB", size).save(tmp_path / f"{at}.png")
    found = request(image=[str(tmp_path), "100x90"]).pipeline().images
    assert set(found) == {Size(48, 64), Size(64, 80), Size(100, 90)}


def test_boxes_of_objects_are_cut_to_smaller_images(tmp_path: Path) -> None:
    path = tmp_path / "objects.json"
    path.write_text(
        '{"a.png": [{"name": "car", "xywh": [0, 0, 70, 10]}, {"name": "car", "xywh": [0, 0, 5, 9]},'
        ' {"name": "face", "xywh": [1, 1, 6, 12]}]}'
    )
    pipeline = request(patch=f"boxes:{path}", image=["64x64", "20x90"]).pipeline()
    assert pipeline.patch == (Rectangle(Size(12, 6)), Rectangle(Size(10, 70)))
    assert pipeline.worst().image == Size(20, 90)
    assert pipeline.worst().patch == "10x70"
    assert request(patch=f"boxes:{path}#face").pipeline().worst().patch == "12x6"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": None}, "crop must be given"),
        ({"records": None}, "records must be given"),
        ({"image": []}, "image must be given"),
        ({"patch": []}, "patch must be given"),
        ({"delta": None}, "delta must be given"),
        ({"delta": 2.0}, r"delta must be in \(0, 1\), got 2.0"),
        ({"noise_std": 1.0}, "noise or noise-std must be given, and not both"),
        ({"noise": None, "noise_std": 1.0}, "clip-norm must be given with noise-std"),
        ({"padding": "a"}, "padding must be 1, 2 or 4 whole numbers, got a"),
        ({"padding": "1,2,3"}, "padding must be 1, 2 or 4 numbers"),
        ({"scale": "0.5", "crop_law": "resized"}, "scale must be LOW:HIGH, got 0.5"),
        ({"crop_law": "nonempty"}, "nothing is amplified"),
        ({"scale": "0.5:1"}, "scale must be left out with crop law uniform"),
        ({"crop_law": "resized", "padding": "4"}, "padding must be left out with crop law resized"),
        ({"crop_law": "none", "flip": 0.5}, "flip must be left out with crop law none"),
        ({"sampler": "sequential"}, "sampler: must be"),
        ({"typo": 1}, "typo must be a known key"),
        ({"patch": ["4", "65"]}, "patch must be at most the image 64x64, got 65x65"),
        ({"flip": 2.0}, "flip: .*less than or equal to 1, got 2.0"),
        ({"steps": "many"}, "steps: .*, got many"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        everything(**changes)
    assert "\n" not in str(caught.value)


def everything(**changes: object) -> None:
    found = request(**changes)
    found.noise_multiplier()
    found.given_delta()
    found.pipeline().worst()


def test_no_such_preset() -> None:
    with pytest.raises(InputError, match=r"preset must be one of paper-a2d2, .* or a YAML file"):
        load_request("paper-none", {})


def test_a_full_batch_needs_no_batch() -> None:
    assert request(sampler="full", batch=None).pipeline().batch == 100
