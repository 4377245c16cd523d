"""Folder data sets: every layout, every fault, and the real photographs."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cropaudit.accounting.geometry import Size
from cropaudit.errors import InputError
from cropaudit.training.data import IGNORE
from cropaudit.training.folder_classes import map_classes, read_names
from cropaudit.training.folders import load_folder

_RNG_SEED = 20


def _write(
    root: Path,
    stem: str,
    split: str = "",
    *,
    mask: np.ndarray | None = None,
    size: tuple[int, int] = (12, 16),
    end: str = ".png",
) -> None:
    """Writes an image of noise and its mask, by default of ids 0 and 1 in halves."""
    images, masks = root / "images" / split, root / "masks" / split
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(_RNG_SEED).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(images / f"{stem}{end}")
    if mask is None:
        mask = np.zeros(size, dtype=np.uint8)
        mask[:, size[1] // 2 :] = 1
    Image.fromarray(mask).save(masks / f"{stem}.png")


def _flat(root: Path, count: int = 4) -> Path:
    for index in range(count):
        _write(root, f"p{index:02}")
    return root


def _refused(root: Path, *words: str, **options: int) -> None:
    """Asserts that loading fails with one line that holds the words."""
    with pytest.raises(InputError) as caught:
        load_folder(root, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


# Layouts.


def test_a_flat_folder_is_split_by_name(tmp_path: Path) -> None:
    data = load_folder(_flat(tmp_path, 9))
    assert data.train.names == tuple(f"p{index:02}" for index in range(7))
    assert data.validation.names == ("p07", "p08")
    assert data.train.classes == data.validation.classes == ("class 0", "class 1")
    image, mask = data.train.images[0], data.train.masks[0]
    assert image.dtype == mask.dtype == torch.uint8
    assert image.shape == (3, 12, 16)
    assert mask.tolist() == [[0] * 8 + [1] * 8] * 12


def test_loading_twice_gives_the_same(tmp_path: Path) -> None:
    first, second = load_folder(_flat(tmp_path, 5)), load_folder(tmp_path)
    assert first.train.names == second.train.names
    assert all(map(torch.equal, first.train.images, second.train.images))


def test_two_images_are_enough_and_pixels_are_kept(tmp_path: Path) -> None:
    data = load_folder(_flat(tmp_path, 2))
    assert (len(data.train), len(data.validation)) == (1, 1)
    with Image.open(tmp_path / "images" / "p00.png") as picture:
        stored = np.asarray(picture)
    assert np.array_equal(data.train.images[0].numpy().transpose(1, 2, 0), stored)


def test_sub_folders_are_the_splits_and_test_stays_unread(tmp_path: Path) -> None:
    for split, stem in (("train", "b"), ("train", "a"), ("val", "c")):
        _write(tmp_path, stem, split)
    (tmp_path / "images" / "test").mkdir()
    (tmp_path / "images" / "test" / "broken.png").write_bytes(b"nothing")
    data = load_folder(tmp_path)
    assert (data.train.names, data.validation.names) == (("a", "b"), ("c",))


@pytest.mark.parametrize("end", [".jpg", ".jpeg", ".JPG", ".png", ".PNG"])
def test_image_endings(tmp_path: Path, end: str) -> None:
    for stem in ("a", "b"):
        _write(tmp_path, stem, end=end)
    assert len(load_folder(tmp_path).train) == 1


def test_scenes_is_the_default_part_and_a_part_can_be_passed(tmp_path: Path) -> None:
    _flat(tmp_path / "people", 2)
    _flat(tmp_path / "scenes", 4)
    (tmp_path / "classes.txt").write_text("0 unlabeled unlabeled 0\n1 'person' 'person' 1\n")
    whole, part = load_folder(tmp_path), load_folder(tmp_path / "people")
    assert len(whole.train) == 3
    assert whole.train.source == f"folder {tmp_path.name}/scenes, training split"
    assert len(part.train) == 1
    assert part.train.classes == ("background", "person"), "0 is background where 1 is all else"


def test_a_lone_part_is_read_and_several_unknown_ones_are_refused(tmp_path: Path) -> None:
    _flat(tmp_path / "left", 2)
    assert load_folder(tmp_path).train.source.endswith("/left, training split")
    _flat(tmp_path / "right", 2)
    _refused(tmp_path, "one of its parts (left, right)")


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    _flat(tmp_path, 2)
    (tmp_path / "images" / "._p00.png").write_bytes(b"desktop")
    (tmp_path / "images" / "Thumbs.db").write_bytes(b"desktop")
    assert len(load_folder(tmp_path).train) == 1


# Classes.


def test_sparse_ids_become_contiguous_over_both_splits(tmp_path: Path) -> None:
    train = np.array([[0, 3], [200, 255]], dtype=np.uint8)
    val = np.array([[7, 3], [7, 0]], dtype=np.uint8)
    _write(tmp_path, "a", "train", mask=train, size=(2, 2))
    _write(tmp_path, "b", "val", mask=val, size=(2, 2))
    (tmp_path / "classes.txt").write_text(
        "0 unlabeled unlabeled 0\n3 'car' 'vehicle' 1\n\n# a comment\n5 'bus' 'vehicle' 1\n"
        "200 'rug merged' 'textile' 0\n"
    )
    data = load_folder(tmp_path)
    assert data.train.classes == data.validation.classes == ("car", "class 7", "rug merged")
    assert data.train.masks[0].tolist() == [[IGNORE, 0], [2, IGNORE]]
    assert data.validation.masks[0].tolist() == [[1, 0], [1, IGNORE]]


@pytest.mark.parametrize("name", ["Unlabelled", "unlabeled", "VOID", "ignore"])
def test_unlabelled_classes_are_ignored(tmp_path: Path, name: str) -> None:
    mask = np.array([[0, 1], [11, 11]], dtype=np.uint8)
    for stem in ("a", "b"):
        _write(tmp_path, stem, mask=mask, size=(2, 2))
    (tmp_path / "classes.txt").write_text(f"0 Sky\n1 Traffic Light\n11 {name}\n")
    data = load_folder(tmp_path)
    assert data.train.classes == ("Sky", "Traffic Light")
    assert data.train.masks[0].tolist() == [[0, 1], [IGNORE, IGNORE]]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("7 Road", "Road"),
        ("7 traffic light", "traffic light"),
        ("7 'dining table' 'furniture' 1", "dining table"),
        ('7 "dining table"', "dining table"),
        ("7 unlabeled unlabeled 0", "unlabeled"),
    ],
)
def test_lines_of_classes_txt(tmp_path: Path, line: str, name: str) -> None:
    (tmp_path / "classes.txt").write_text(line + "\n", encoding="utf-8-sig")
    assert read_names(tmp_path) == {7: name}


@pytest.mark.parametrize("text", ["Road 7\n", "1 a\n1 b\n", "7\n"])
def test_faulty_classes_txt(tmp_path: Path, text: str) -> None:
    (_flat(tmp_path) / "classes.txt").write_text(text)
    _refused(tmp_path, "classes.txt line")


def test_classes_txt_that_is_no_text(tmp_path: Path) -> None:
    (_flat(tmp_path) / "classes.txt").write_bytes(b"\xff\xfe\x00\x80")
    _refused(tmp_path, "classes.txt", "UTF-8")


def test_palette_bilevel_and_deep_masks_keep_their_indices(tmp_path: Path) -> None:
    for stem in ("a", "b", "c", "d"):
        _write(tmp_path, stem)
    ids = np.array([[0, 1] * 8] * 12, dtype=np.uint8)
    palette = Image.fromarray(ids).convert("P")
    palette.putdata(ids.ravel().tolist())
    palette.putpalette([9, 9, 9, 200, 0, 0])
    palette.save(tmp_path / "masks" / "a.png")
    Image.fromarray(ids.astype(bool)).save(tmp_path / "masks" / "b.png")
    Image.fromarray(ids.astype(np.uint16) * 300).save(tmp_path / "masks" / "c.png")
    data = load_folder(tmp_path)
    assert data.train.classes == ("class 0", "class 1", "class 300")
    assert data.train.masks[0].tolist() == data.train.masks[1].tolist() == ids.tolist()
    assert data.train.masks[2].tolist() == (2 * ids).tolist()


def test_small_greys_are_not_spread_over_the_byte(tmp_path: Path) -> None:
    _flat(tmp_path, 2)
    rows = b"".join(b"\x00" + bytes([0x01, 0x2F]) for _ in range(4))
    (tmp_path / "masks" / "p00.png").write_bytes(_png(width=4, height=4, bits=4, data=rows))
    _write(tmp_path, "keep", size=(4, 4))
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "p00.png")
    data = load_folder(tmp_path)
    names = np.array(data.train.classes)
    shown = names[data.train.masks[data.train.names.index("p00")].numpy()]
    assert shown[0].tolist() == ["class 0", "class 1", "class 2", "class 15"]


def _png(width: int, height: int, bits: int, data: bytes, colour: int = 0) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_the_number_of_classes_is_bounded() -> None:
    here = Path("here")
    assert len(map_classes(range(255), {}, here).names) == 255
    with pytest.raises(InputError, match="between 2 and 255 classes, got 256"):
        map_classes(range(257), {}, here)
    with pytest.raises(InputError, match=r"between 2 and 255 classes, got 1 \(class 0; 255 means"):
        map_classes((0, 255), {}, here)


# Sizes and limits.


def test_short_side_reduces_image_and_mask_alike(tmp_path: Path) -> None:
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[7:31, 13:44] = 9
    for stem in ("a", "b"):
        _write(tmp_path, stem, mask=mask, size=(40, 60))
        Image.fromarray(np.stack([mask * 20] * 3, axis=-1)).save(tmp_path / f"images/{stem}.png")
    data = load_folder(tmp_path, short_side=13)
    assert data.train.sizes() == (Size(13, 20),)
    small = data.train.masks[0].numpy()
    nearest = Image.fromarray(mask).resize((20, 13), Image.Resampling.NEAREST)
    assert np.array_equal(small, np.asarray(nearest) // 9)
    bright = data.train.images[0][0].numpy() > 90
    assert (bright == (small == 1)).mean() > 0.97


@pytest.mark.parametrize("short_side", [12, 13, 500])
def test_short_side_never_enlarges(tmp_path: Path, short_side: int) -> None:
    assert load_folder(_flat(tmp_path), short_side=short_side).train.sizes() == (Size(12, 16),)


def test_limit_takes_evenly_spaced_images_of_each_split(tmp_path: Path) -> None:
    for index in range(10):
        _write(tmp_path, f"t{index}", "train")
        _write(tmp_path, f"v{index}", "val")
    data = load_folder(tmp_path, limit=4)
    assert data.train.names == ("t0", "t2", "t5", "t7")
    assert data.validation.names == ("v0", "v2", "v5", "v7")
    assert len(load_folder(tmp_path, limit=99).train) == 10


@pytest.mark.parametrize("option", ["short_side", "limit"])
def test_options_are_at_least_one(tmp_path: Path, option: str) -> None:
    _refused(_flat(tmp_path), option.replace("_", " "), "at least 1, got 0", **{option: 0})


# Faults.


def test_missing_folder_and_file_instead_of_folder(tmp_path: Path) -> None:
    _refused(tmp_path / "nowhere", "must exist", "nowhere")
    (tmp_path / "file").write_text("x")
    _refused(tmp_path / "file", "must be a folder", "file")


def test_empty_and_unknown_folders_name_the_layouts(tmp_path: Path) -> None:
    _refused(tmp_path, "images/ and masks/", "train/ and val/", "nothing in it")
    for index in range(7):
        (tmp_path / f"photo{index}.txt").write_text("x")
    _refused(tmp_path, "images/ and masks/", "photo0.txt", "and 2 more")


def test_empty_layouts(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    _refused(tmp_path, "must hold images (.jpg, .jpeg, .png), got none")


def test_train_without_val(tmp_path: Path) -> None:
    _write(tmp_path, "a", "train")
    _refused(tmp_path, "val", "missing")


def test_one_image_cannot_be_split(tmp_path: Path) -> None:
    _refused(_flat(tmp_path, 1), "at least 2 images", "got 1")


def test_image_without_mask_and_mask_without_image(tmp_path: Path) -> None:
    _flat(tmp_path)
    (tmp_path / "masks" / "p01.png").unlink()
    _refused(tmp_path, "image", "p01.png", "must have a mask", "no such file")
    (tmp_path / "images" / "p01.png").unlink()
    (tmp_path / "images" / "p02.png").unlink()
    _refused(tmp_path, "mask", "p02.png", "must have an image", ".jpg, .jpeg, .png")


def test_two_images_of_one_stem(tmp_path: Path) -> None:
    _flat(tmp_path)
    Image.new("RGB", (16, 12)).save(tmp_path / "images" / "p01.jpg")
    _refused(tmp_path, "p01.jpg", "p01.png", "stem of its own")


def test_mask_of_another_size(tmp_path: Path) -> None:
    _flat(tmp_path)
    Image.new("L", (10, 8)).save(tmp_path / "masks" / "p02.png")
    _refused(tmp_path, "p02.png", "12x16", "8x10", short_side=4)


def test_colour_masks_are_refused(tmp_path: Path) -> None:
    _flat(tmp_path)
    Image.new("RGB", (16, 12)).save(tmp_path / "masks" / "p00.png")
    _refused(tmp_path, "p00.png", "one channel of class indices", "RGB")


def test_deep_images_are_refused(tmp_path: Path) -> None:
    _flat(tmp_path)
    Image.fromarray(np.zeros((12, 16), dtype=np.uint16)).save(tmp_path / "images" / "p00.png")
    _refused(tmp_path, "p00.png", "8 bits a channel", "I;16")


def test_a_jpeg_named_png_is_no_mask(tmp_path: Path) -> None:
    _flat(tmp_path)
    Image.new("L", (16, 12)).save(tmp_path / "masks" / "p00.png", format="JPEG")
    _refused(tmp_path, "p00.png", "whole PNG file")


@pytest.mark.parametrize("kept", [0, 5, 20, 60, 0.5, 0.9, -13])
@pytest.mark.parametrize("end", [".png", ".jpg"])
def test_truncated_images(tmp_path: Path, kept: float, end: str) -> None:
    for stem in ("a", "b"):
        _write(tmp_path, stem, end=end, size=(60, 80))
    path = tmp_path / "images" / f"a{end}"
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    _refused(tmp_path, f"a{end}", "corrupt or truncated")


@pytest.mark.parametrize("place", [9, 20, 30, 45, 60])
def test_flipped_bits_in_a_mask(tmp_path: Path, place: int) -> None:
    _flat(tmp_path)
    path = tmp_path / "masks" / "p00.png"
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)
    _refused(tmp_path, "p00.png", "corrupt or truncated")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04\x95pickle.", b"GIF89a" + b"\0" * 99])
def test_other_files_under_a_picture_name(tmp_path: Path, content: bytes) -> None:
    _flat(tmp_path)
    (tmp_path / "images" / "p00.png").write_bytes(content)
    _refused(tmp_path, "p00.png", "PNG or JPEG")


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_decompression_bombs(tmp_path: Path, side: int) -> None:
    _flat(tmp_path)
    bomb = _png(width=side, height=side, bits=8, data=b"\0" * 100)
    (tmp_path / "images" / "p00.png").write_bytes(bomb)
    _refused(tmp_path, "p00.png", "pixels")


def test_a_set_without_labels(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        _write(tmp_path, stem, mask=np.full((12, 16), 255, dtype=np.uint8))
    _refused(tmp_path, "label at least one pixel", "none labelled")


def test_a_split_without_labels(tmp_path: Path) -> None:
    _write(tmp_path, "a", "train")
    _write(tmp_path, "b", "val", mask=np.full((12, 16), 255, dtype=np.uint8))
    _refused(tmp_path, "validation split", "none labelled")


# Real photographs.


@pytest.mark.data
def test_camvid(camvid_root: Path) -> None:
    data = load_folder(camvid_root, short_side=180)
    assert (len(data.train), len(data.validation)) == (64, 20)
    assert data.train.sizes() == (Size(180, 240),)
    assert data.train.classes[:4] == ("Sky", "Building", "Pole", "Road")
    assert len(data.train.classes) == 11
    labels = np.unique(torch.stack(data.train.masks).numpy()).tolist()
    assert labels == [*range(11), IGNORE]


@pytest.mark.data
def test_camvid_sky_is_brighter_than_road(camvid_root: Path) -> None:
    """Masks lie on their images: in daylight the sky outshines the asphalt."""
    data = load_folder(camvid_root, limit=8)
    for image, mask in zip(data.train.images, data.train.masks, strict=True):
        sky, road = (image[:, mask == index].float().mean() for index in (0, 3))
        assert sky > road + 20


@pytest.mark.data
def test_coco_scenes_are_the_default(coco_root: Path) -> None:
    data, part = load_folder(coco_root, short_side=96), load_folder(coco_root / "scenes", limit=3)
    assert (len(data.train), len(data.validation)) == (26, 27)
    assert data.train.classes[:3] == ("person", "bicycle", "car")
    assert "sky-other-merged" in data.train.classes
    assert not any(name.startswith("class ") for name in data.train.classes)
    labels = np.unique(np.concatenate([mask.numpy().ravel() for mask in data.train.masks]))
    assert int(labels[:-1].max()) < len(data.train.classes)
    assert int(labels[-1]) == IGNORE
    assert part.train.source == "folder scenes, training split"


@pytest.mark.data
def test_coco_people(coco_root: Path) -> None:
    data = load_folder(coco_root / "people")
    assert data.train.classes == ("background", "person")
    assert (len(data.train), len(data.validation)) == (5, 8)
    labels = np.unique(np.concatenate([mask.numpy().ravel() for mask in data.train.masks])).tolist()
    assert labels == [0, 1, IGNORE]
