"""Folder data sets: every layout, every fault, and the real photographs."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

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


@pytest.mark.parametrize("end", [".jpg", ".jpeg", ".JPG", ".png", ".PNG", ".webp", ".bmp", ".tif"])
def test_image_endings(tmp_path: Path, end: str) -> None:
    for stem in ("a", "b"):
        _write(tmp_path, stem, end=end)
    assert len(load_folder(tmp_path).train) == 1


@pytest.mark.parametrize("end", [".tif", ".tiff", ".webp", ".bmp"])
def test_pairs_of_another_ending_beside_jpeg_are_read(tmp_path: Path, end: str) -> None:
    for index in range(4):
        _write(tmp_path, f"a{index}", end=".jpg")
    for index in range(8):
        _write(tmp_path, f"b{index}", end=end)
        if end != ".webp":  # which would not keep labels
            mask = tmp_path / "masks" / f"b{index}.png"
            with Image.open(mask) as picture:
                picture.save(mask.with_suffix(end))
            mask.unlink()
    data = load_folder(tmp_path)
    assert len(data.train) + len(data.validation) == 12
    assert all(mask.tolist() == [[0] * 8 + [1] * 8] * 12 for mask in data.train.masks)
    assert "12 images with masks found, 9 trained on, 3 validate" in data.train.files


def test_pictures_in_sub_folders_are_read_beside_others(tmp_path: Path) -> None:
    _flat(tmp_path, 3)
    for place in ("left", "right/deep"):
        for kind in ("images", "masks"):
            (tmp_path / kind / place).mkdir(parents=True)
            (tmp_path / kind / place / "p00.png").write_bytes(
                (tmp_path / kind / "p00.png").read_bytes()
            )
    data = load_folder(tmp_path)
    names = (*data.train.names, *data.validation.names)
    assert sorted(names) == [
        *("p01", "p02"),
        *(f"{tmp_path.name}/images/{place}" for place in ("left/p00", "p00", "right/deep/p00")),
    ]


@pytest.mark.parametrize("end", [".heic", ".jp2", ".avif"])
def test_pictures_that_are_not_read_are_no_secret(tmp_path: Path, end: str) -> None:
    _flat(tmp_path)
    (tmp_path / "images" / f"q{end}").write_bytes(b"some picture")
    _refused(tmp_path, f"q{end}", f"got {end}")


@pytest.mark.parametrize("end", [".jpg", ".webp"])
def test_masks_stored_with_loss_are_refused(tmp_path: Path, end: str) -> None:
    mask = _flat(tmp_path) / "masks" / "p01.png"
    mask.rename(mask.with_suffix(end))
    _refused(tmp_path, f"p01{end}", "must be one of .bmp, .gif, .png, .tif, .tiff")


def test_pictures_beside_splits_contradict(tmp_path: Path) -> None:
    for split, stem in (("train", "b"), ("val", "c")):
        _write(tmp_path, stem, split)
    _write(tmp_path, "stray")
    _refused(tmp_path, "either pictures or train/ and val/", "stray.png")


@pytest.mark.parametrize("split", ["val", "test", "Training", "validation"])
def test_a_split_without_train_is_no_flat_folder(tmp_path: Path, split: str) -> None:
    _flat(tmp_path)
    _write(tmp_path, "v", split)
    _refused(tmp_path, "must hold train/ and val/", f"got {split}/")


def test_a_folder_that_holds_itself_is_refused(tmp_path: Path) -> None:
    (_flat(tmp_path) / "images" / "again").symlink_to(tmp_path / "images")
    _refused(tmp_path, "does not hold itself")


def test_what_is_left_out_is_told_in_one_line(tmp_path: Path) -> None:
    for split, stem in (("train", "a"), ("val", "b"), ("test", "c"), ("test", "d")):
        _write(tmp_path, stem, split)
    (tmp_path / "images" / "train" / "notes.txt").write_text("x")
    line = load_folder(tmp_path).train.files
    assert line.endswith("; left out: images/*.txt (1), images/test (2), masks/test (2)")
    assert load_folder(_whole(tmp_path / "whole")).train.files.endswith("1 trained on, 1 validate")


def _whole(root: Path) -> Path:
    return _flat(root, 2)


@pytest.mark.parametrize(("images", "masks"), [("imgs", "labels"), ("JPEGImages", "gt")])
def test_the_rename_is_said(tmp_path: Path, images: str, masks: str) -> None:
    _flat(tmp_path)
    (tmp_path / "images").rename(tmp_path / images)
    (tmp_path / "masks").rename(tmp_path / masks)
    _refused(tmp_path, f"{images}/ to images/", f"{masks}/ to masks/")


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


def test_255_is_a_class_where_it_has_a_name(tmp_path: Path) -> None:
    mask = np.array([[0, 255], [255, 0]], dtype=np.uint8)
    for stem in ("a", "b"):
        _write(tmp_path, stem, mask=mask, size=(2, 2))
    _refused(tmp_path, "got 1 (class 0; 255 means ignore unless classes.txt names it")
    (tmp_path / "classes.txt").write_text("0 background\n255 person\n")
    data = load_folder(tmp_path)
    assert data.train.classes == ("background", "person")
    assert data.train.masks[0].tolist() == [[0, 1], [1, 0]]
    (tmp_path / "classes.txt").write_text("0 sky\n7 car\n255 void\n")
    _refused(tmp_path, "got 1 (sky")


@pytest.mark.parametrize("by", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize("high", [255, 40])
def test_smoothed_masks_are_no_classes(tmp_path: Path, by: Image.Resampling, high: int) -> None:
    large = np.zeros((90, 120), dtype=np.uint8)
    rows, columns = np.ogrid[:90, :120]
    large[(rows - 40) ** 2 + (columns - 60) ** 2 < 900] = high
    small = np.asarray(Image.fromarray(large).resize((51, 38), by))
    for stem in ("a", "b"):
        _write(tmp_path, stem, mask=small, size=small.shape)
    _refused(tmp_path, "along borders alone", "nearest neighbour")
    nearest = np.asarray(Image.fromarray(large).resize((51, 38), Image.Resampling.NEAREST))
    (tmp_path / "classes.txt").write_text(f"0 rest\n{high} thing\n")
    for stem in ("a", "b"):
        _write(tmp_path, stem, mask=nearest, size=nearest.shape)
    assert load_folder(tmp_path).train.classes == ("rest", "thing")


def test_thin_things_are_classes(tmp_path: Path) -> None:
    mask = np.zeros((30, 40), dtype=np.uint8)
    mask[15:] = 1
    mask[:, 20:30] = 2
    mask[3:20, 7], mask[12, 2:18] = 3, 4  # a pole and a wire
    for stem in ("a", "b"):
        _write(tmp_path, stem, mask=mask, size=mask.shape)
    assert len(load_folder(tmp_path).train.classes) == 5


def _palette_mask(path: Path, colours: list[int]) -> None:
    ids = np.array([[0, 1] * 8] * 12, dtype=np.uint8)
    picture = Image.fromarray(ids).convert("P")
    picture.putdata(ids.ravel().tolist())
    picture.putpalette(colours)
    picture.save(path)


def test_palettes_that_swap_classes_are_refused(tmp_path: Path) -> None:
    masks = _flat(tmp_path, 3) / "masks"
    for name in ("p00", "p01", "p02"):
        _palette_mask(masks / f"{name}.png", [0, 0, 0, 200, 0, 0, 0, 0, 9])
    assert len(load_folder(tmp_path).train) == 2
    _palette_mask(masks / "p01.png", [200, 0, 0, 0, 0, 0])
    _refused(tmp_path, "must share one palette", "index 0 as #000000", "p01.png")
    (tmp_path / "labelmap.txt").write_text("# label:color\nsky:0,0,0::\ncar:200,0,0::\n")
    data = load_folder(tmp_path)
    assert data.train.classes == ("sky", "car")
    assert data.train.masks[0].tolist() == [[0, 1] * 8] * 12
    assert data.train.masks[1].tolist() == [[1, 0] * 8] * 12


def test_a_labelmap_names_the_colours(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        _write(tmp_path, stem)
        colours = np.zeros((12, 16, 3), dtype=np.uint8)
        colours[:, :5], colours[:, 5:9] = (250, 50, 83), (1, 2, 3)
        Image.fromarray(colours).save(tmp_path / "masks" / f"{stem}.png")
    _refused(tmp_path, "labelmap.txt that names the colours", "mode RGB")
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\nvoid:1,2,3\nroad:250,50,83::x\n")
    data = load_folder(tmp_path)
    assert data.train.classes == ("background", "road")
    assert data.train.masks[0].tolist() == [[1] * 5 + [IGNORE] * 4 + [0] * 7] * 12


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a:1,2\nb:1,2,3\n", "name:red,green,blue"),
        ("a:1,2,256\nb:1,2,3\n", "name:red,green,blue"),
        ("a:1,2,3\nb:1,2,3\n", "#010203 for a and b"),
        ("a:1,2,3\n", "at least 2 labels, got 1"),
    ],
)
def test_faulty_labelmaps(tmp_path: Path, text: str, words: str) -> None:
    (_flat(tmp_path) / "labelmap.txt").write_text(text)
    _refused(tmp_path, "labelmap.txt", words)


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
    _refused(
        tmp_path, "must hold images (.bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp), got none"
    )


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
    _refused(tmp_path, "mask", "p02.png", "must have an image", ".jpeg, .jpg, .png")


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


def test_16_bits_a_channel_are_not_cut_to_8(tmp_path: Path) -> None:
    _flat(tmp_path)
    row = b"\x00" + struct.pack(">48H", *range(48))
    deep = _png(width=16, height=12, bits=16, data=row * 12, colour=2)
    for kind, words in (("images", "8 bits a channel"), ("masks", "RGB")):
        whole = (tmp_path / kind / "p00.png").read_bytes()
        (tmp_path / kind / "p00.png").write_bytes(deep)
        _refused(tmp_path, "p00.png", words)
        (tmp_path / kind / "p00.png").write_bytes(whole)
    (tmp_path / "labelmap.txt").write_text("a:0,0,0\nb:1,1,1\n")
    (tmp_path / "masks" / "p00.png").write_bytes(deep)
    _refused(tmp_path, "p00.png", "of 16 bits")


# Orientation tags.


def _turned(path: Path, tag: int) -> None:
    with Image.open(path) as picture:
        exif = picture.getexif()
        exif[0x0112] = tag
        picture.save(path, exif=exif)


@pytest.mark.parametrize("tag", [2, 3, 4])
def test_a_tag_that_the_size_does_not_show_is_refused(tmp_path: Path, tag: int) -> None:
    for stem in ("a", "b"):
        _write(tmp_path, stem, end=".jpg")
    _turned(tmp_path / "images" / "a.jpg", tag)
    _refused(tmp_path, "a.jpg", "stored upright", f"tag {tag}")


@pytest.mark.parametrize("tag", [5, 6, 7, 8])
def test_a_tag_is_followed_as_the_mask_shows(tmp_path: Path, tag: int) -> None:
    for stem in ("a", "b"):
        _write(tmp_path, stem, end=".jpg")
    path = tmp_path / "images" / "a.jpg"
    _turned(path, tag)
    with Image.open(path) as picture:
        stored = np.asarray(picture)
        shown = np.asarray(ImageOps.exif_transpose(picture))
    kept = load_folder(tmp_path).train.images[0].numpy().transpose(1, 2, 0)
    assert np.array_equal(kept, stored), "the mask has the size as stored"
    Image.fromarray(np.eye(16, 12, dtype=np.uint8)).save(tmp_path / "masks" / "a.png")
    turned = load_folder(tmp_path).train
    assert np.array_equal(turned.images[0].numpy().transpose(1, 2, 0), shown)
    assert turned.origins[0] is not None
    assert turned.origins[0].size == Size(16, 12)


def test_a_square_that_may_be_turned_and_a_turned_mask_are_refused(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        _write(tmp_path, stem, end=".jpg", size=(12, 12))
    _turned(tmp_path / "masks" / "b.png", 3)
    _refused(tmp_path, "mask", "b.png", "orientation tag, got 3")
    _turned(tmp_path / "images" / "a.jpg", 6)
    _refused(tmp_path, "a.jpg", "tag 6")


def test_upright_tags_are_no_matter(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        _write(tmp_path, stem, end=".jpg")
        _turned(tmp_path / "images" / f"{stem}.jpg", 1)
    assert load_folder(tmp_path).train.sizes() == (Size(12, 16),)


# Formats.


def test_a_gif_named_jpg_is_read_and_a_film_is_not(tmp_path: Path) -> None:
    _flat(tmp_path)
    pictures = [Image.new("RGB", (16, 12), (shade, 0, 0)) for shade in (9, 200)]
    path = tmp_path / "images" / "p00.png"
    pictures[1].save(path, format="GIF")
    assert load_folder(tmp_path).train.images[0][0].unique().tolist() == [200]
    pictures[0].save(path, format="GIF", save_all=True, append_images=pictures[1:])
    _refused(tmp_path, "p00.png", "a file of one picture, got 2")


def test_a_jpeg_named_png_is_no_mask(tmp_path: Path) -> None:
    _flat(tmp_path)
    Image.new("L", (16, 12)).save(tmp_path / "masks" / "p00.png", format="JPEG")
    _refused(tmp_path, "p00.png", "stored without loss", "got JPEG")


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
    _refused(tmp_path, "p00.png", "must be a whole picture (JPEG, PNG,")


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
