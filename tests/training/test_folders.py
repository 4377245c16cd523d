"""Folder data sets: every layout, every fault, and the real photographs."""

import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from cropaudit.accounting.geometry.shapes import Size
from cropaudit.errors import InputError
from cropaudit.training.data.images import IGNORE
from cropaudit.training.datasets.classes import map_classes, read_names
from cropaudit.training.datasets.registry import load_dataset

load_folder = partial(load_dataset, "folder")
HALVES = [[0] * 8 + [1] * 8] * 12


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
    shape = size if mask is None else mask.shape
    pixels = np.random.default_rng(20).integers(0, 255, (*shape, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(images / f"{stem}{end}")
    if mask is None:
        mask = np.zeros(size, dtype=np.uint8)
        mask[:, size[1] // 2 :] = 1
    Image.fromarray(mask).save(masks / f"{stem}.png")


def _flat(root: Path, count: int = 4) -> Path:
    for index in range(count):
        _write(root, f"p{index:02}")
    return root


def _two(root: Path, **options: object) -> Path:
    for stem in ("a", "b"):
        _write(root, stem, **options)  # type: ignore[arg-type]
    return root


def _splits(root: Path, *places: str) -> Path:
    for place in places:
        split, _, stem = place.partition("/")
        _write(root, stem, split)
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
    data, again = load_folder(_flat(tmp_path, 9)), load_folder(tmp_path)
    assert data.train.names == again.train.names == tuple(f"p{index:02}" for index in range(7))
    assert data.validation.names == ("p07", "p08")
    assert data.train.classes == data.validation.classes == ("class 0", "class 1")
    image, mask = data.train.images[0], data.train.masks[0]
    assert image.dtype == mask.dtype == torch.uint8
    assert mask.tolist() == HALVES
    with Image.open(tmp_path / "images" / "p00.png") as picture:
        assert np.array_equal(image.numpy().transpose(1, 2, 0), np.asarray(picture))
    assert torch.equal(image, again.train.images[0])


def test_sub_folders_are_the_splits_and_test_stays_unread(tmp_path: Path) -> None:
    _splits(tmp_path, "train/b", "train/a", "val/c", "test/d")
    (tmp_path / "images" / "test" / "broken.png").write_bytes(b"nothing")
    (tmp_path / "images" / "train" / "notes.txt").write_text("x")
    data = load_folder(tmp_path)
    assert (data.train.names, data.validation.names) == (("a", "b"), ("c",))
    ends = "; left out: images/*.txt (1), images/test (2), masks/test (1)"
    assert data.train.files.endswith(f"3 images with masks found, 2 trained on, 1 validate{ends}")


@pytest.mark.parametrize("end", [".jpg", ".jpeg", ".JPG", ".PNG", ".webp", ".bmp", ".tif", ".tiff"])
def test_image_and_mask_endings(tmp_path: Path, end: str) -> None:
    for index in range(2):
        _write(tmp_path, f"a{index}", end=".jpg")
    for index in range(4):
        _write(tmp_path, f"b{index}", end=end)
        if end in (".bmp", ".tif", ".tiff"):  # which keep labels
            mask = tmp_path / "masks" / f"b{index}.png"
            with Image.open(mask) as picture:
                picture.save(mask.with_suffix(end))
            mask.unlink()
    data = load_folder(tmp_path)
    assert len(data.train) + len(data.validation) == 6
    assert all(mask.tolist() == HALVES for mask in data.train.masks)


def test_pictures_in_sub_folders_are_read_beside_others_and_hidden_ones_are_not(
    tmp_path: Path,
) -> None:
    _flat(tmp_path, 3)
    for place in ("left", "right/deep"):
        for kind in ("images", "masks"):
            (tmp_path / kind / place).mkdir(parents=True)
            (tmp_path / kind / place / "p00.png").write_bytes(
                (tmp_path / kind / "p00.png").read_bytes()
            )
    (tmp_path / "images" / "._p00.png").write_bytes(b"desktop")
    (tmp_path / "images" / "Thumbs.db").write_bytes(b"desktop")
    data = load_folder(tmp_path)
    names = (*data.train.names, *data.validation.names)
    assert sorted(names) == [
        *("p01", "p02"),
        *(f"{tmp_path.name}/images/{place}" for place in ("left/p00", "p00", "right/deep/p00")),
    ]


def test_parts_of_a_folder(tmp_path: Path) -> None:
    _flat(tmp_path / "people", 2)
    assert load_folder(tmp_path).train.source.endswith("/people, training split"), "a lone part"
    _flat(tmp_path / "left", 2)
    _refused(tmp_path, "one of its parts (left, people)")
    _flat(tmp_path / "scenes", 4)
    (tmp_path / "classes.txt").write_text("0 unlabeled unlabeled 0\n1 'person' 'person' 1\n")
    whole, part = load_folder(tmp_path), load_folder(tmp_path / "people")
    assert len(whole.train) == 3
    assert whole.train.source == f"folder {tmp_path.name}/scenes, training split"
    assert part.train.classes == ("background", "person"), "0 is background where 1 is all else"


@pytest.mark.parametrize(("images", "masks"), [("imgs", "labels"), ("JPEGImages", "gt")])
def test_the_rename_is_said(tmp_path: Path, images: str, masks: str) -> None:
    _flat(tmp_path)
    (tmp_path / "images").rename(tmp_path / images)
    (tmp_path / "masks").rename(tmp_path / masks)
    _refused(tmp_path, f"{images}/ to images/", f"{masks}/ to masks/")


# Classes.


def test_sparse_ids_become_contiguous_over_both_splits(tmp_path: Path) -> None:
    train = np.array([[0, 3], [200, 255]], dtype=np.uint8)
    val = np.array([[7, 3], [7, 0]], dtype=np.uint8)
    _write(tmp_path, "a", "train", mask=train)
    _write(tmp_path, "b", "val", mask=val)
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
    _two(tmp_path, mask=np.array([[0, 1], [11, 11]], dtype=np.uint8))
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


def _palette_mask(path: Path, colours: list[int]) -> None:
    ids = np.array([[0, 1] * 8] * 12, dtype=np.uint8)
    picture = Image.fromarray(ids).convert("P")
    picture.putdata(ids.ravel().tolist())
    picture.putpalette(colours)
    picture.save(path)


def test_palette_bilevel_and_deep_masks_keep_their_indices(tmp_path: Path) -> None:
    masks = _flat(tmp_path) / "masks"
    ids = np.array([[0, 1] * 8] * 12, dtype=np.uint8)
    _palette_mask(masks / "p00.png", [9, 9, 9, 200, 0, 0])
    Image.fromarray(ids.astype(bool)).save(masks / "p01.png")
    Image.fromarray(ids.astype(np.uint16) * 300).save(masks / "p02.png")
    data = load_folder(tmp_path)
    assert data.train.classes == ("class 0", "class 1", "class 300")
    assert data.train.masks[0].tolist() == data.train.masks[1].tolist() == ids.tolist()
    assert data.train.masks[2].tolist() == (2 * ids).tolist()


def _png(width: int, height: int, bits: int, data: bytes, colour: int = 0) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_small_greys_are_not_spread_over_the_byte(tmp_path: Path) -> None:
    _flat(tmp_path, 2)
    rows = b"".join(b"\x00" + bytes([0x01, 0x2F]) for _ in range(4))
    (tmp_path / "masks" / "p00.png").write_bytes(_png(width=4, height=4, bits=4, data=rows))
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "p00.png")
    data = load_folder(tmp_path).train
    shown = np.array(data.classes)[data.masks[data.names.index("p00")].numpy()]
    assert shown[0].tolist() == ["class 0", "class 1", "class 2", "class 15"]


def test_255_is_a_class_where_it_has_a_name(tmp_path: Path) -> None:
    _two(tmp_path, mask=np.array([[0, 255], [255, 0]], dtype=np.uint8))
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
    _two(tmp_path, mask=np.asarray(Image.fromarray(large).resize((51, 38), by)))
    _refused(tmp_path, "along borders alone", "nearest neighbour")
    nearest = np.asarray(Image.fromarray(large).resize((51, 38), Image.Resampling.NEAREST))
    (tmp_path / "classes.txt").write_text(f"0 rest\n{high} thing\n")
    assert load_folder(_two(tmp_path, mask=nearest)).train.classes == ("rest", "thing")


def test_thin_things_are_classes(tmp_path: Path) -> None:
    mask = np.zeros((30, 40), dtype=np.uint8)
    mask[15:] = 1
    mask[:, 20:30] = 2
    mask[3:20, 7], mask[12, 2:18] = 3, 4  # a pole and a wire
    assert len(load_folder(_two(tmp_path, mask=mask)).train.classes) == 5


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
    colours = np.zeros((12, 16, 3), dtype=np.uint8)
    colours[:, :5], colours[:, 5:9] = (250, 50, 83), (1, 2, 3)
    for stem in ("a", "b"):
        _write(tmp_path, stem)
        Image.fromarray(colours).save(tmp_path / "masks" / f"{stem}.png")
    _refused(tmp_path, "labelmap.txt that names the colours", "mode RGB")
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\nvoid:1,2,3\nroad:250,50,83::x\n")
    data = load_folder(tmp_path)
    assert data.train.classes == ("background", "road")
    assert data.train.masks[0].tolist() == [[1] * 5 + [IGNORE] * 4 + [0] * 7] * 12


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("labelmap.txt", b"a:1,2\nb:1,2,3\n", "name:red,green,blue"),
        ("labelmap.txt", b"a:1,2,256\nb:1,2,3\n", "name:red,green,blue"),
        ("labelmap.txt", b"a:1,2,3\nb:1,2,3\n", "#010203 for a and b"),
        ("labelmap.txt", b"a:1,2,3\n", "at least 2 labels, got 1"),
        ("classes.txt", b"Road 7\n", "classes.txt line"),
        ("classes.txt", b"1 a\n1 b\n", "classes.txt line"),
        ("classes.txt", b"7\n", "classes.txt line"),
        ("classes.txt", b"\xff\xfe\x00\x80", "UTF-8"),
    ],
)
def test_faulty_lists_of_names(tmp_path: Path, file: str, content: bytes, words: str) -> None:
    (_flat(tmp_path) / file).write_bytes(content)
    _refused(tmp_path, file, words)


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
    _two(tmp_path, mask=mask)
    for stem in ("a", "b"):
        Image.fromarray(np.stack([mask * 20] * 3, axis=-1)).save(tmp_path / f"images/{stem}.png")
    data = load_folder(tmp_path, short_side=13)
    assert data.train.sizes() == (Size(13, 20),)
    small = data.train.masks[0].numpy()
    nearest = Image.fromarray(mask).resize((20, 13), Image.Resampling.NEAREST)
    assert np.array_equal(small, np.asarray(nearest) // 9)
    bright = data.train.images[0][0].numpy() > 90
    assert (bright == (small == 1)).mean() > 0.97
    for larger in (40, 500):
        assert load_folder(tmp_path, short_side=larger).train.sizes() == (Size(40, 60),)


def test_limit_takes_evenly_spaced_images_of_each_split(tmp_path: Path) -> None:
    _splits(tmp_path, *(f"{part}/{part[0]}{at}" for part in ("train", "val") for at in range(10)))
    data = load_folder(tmp_path, limit=4)
    assert data.train.names == ("t0", "t2", "t5", "t7")
    assert data.validation.names == ("v0", "v2", "v5", "v7")
    assert len(load_folder(tmp_path, limit=99).train) == 10
    for option in ("short_side", "limit"):
        _refused(tmp_path, option.replace("_", " "), "at least 1, got 0", **{option: 0})


# Faults of folders: how one is made, and what is said of it.


def _removed(*names: str) -> Callable[[Path], Path]:
    def broken(root: Path) -> Path:
        for name in names:
            (_flat(root) / name).unlink()
        return root

    return broken


def _put(name: str, content: bytes) -> Callable[[Path], Path]:
    """Returns a maker of a flat folder in which one file has another content."""

    def broken(root: Path) -> Path:
        (_flat(root) / name).write_bytes(content)
        return root

    return broken


def _renamed(name: str, end: str) -> Callable[[Path], Path]:
    def broken(root: Path) -> Path:
        path = _flat(root) / name
        path.rename(path.with_suffix(end))
        return root

    return broken


def _picture(name: str, mode: str, size: tuple[int, int], form: str) -> Callable[[Path], Path]:
    def broken(root: Path) -> Path:
        Image.new(mode, size).save(_flat(root) / name, format=form)
        return root

    return broken


def _linked(root: Path) -> Path:
    (_flat(root) / "images" / "again").symlink_to(root / "images")
    return root


def _made(root: Path, *folders: str) -> Path:
    for folder in folders:
        (root / folder).mkdir(parents=True)
    return root


def _beside(split: str) -> Callable[[Path], Path]:
    return lambda root: _splits(_flat(root), f"{split}/v")


def _unlabelled(split: str) -> Callable[[Path], Path]:
    def broken(root: Path) -> Path:
        blank = np.full((12, 16), 255, dtype=np.uint8)
        if not split:
            return _two(root, mask=blank)
        _write(_splits(root, "train/a"), "b", split, mask=blank)
        return root

    return broken


_DEEP = _png(16, 12, 16, (b"\x00" + struct.pack(">48H", *range(48))) * 12, colour=2)
_LOSSLESS = "must be one of .bmp, .gif, .png, .tif, .tiff"
_NO_PICTURE = ("p00.png", "must be a whole picture (JPEG, PNG,")
FAULTS: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "nowhere": (lambda root: root / "nowhere", ("must exist", "nowhere")),
    "nothing in it": (lambda root: root, ("images/ and masks/", "train/ and val/", "nothing in")),
    "other files": (
        lambda root: [(root / f"x{i}.txt").touch() for i in range(7)] and root,
        ("images/ and masks/", "x0.txt", "and 2 more"),
    ),
    "empty": (
        lambda root: _made(root, "images", "masks"),
        ("must hold images (.bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp), got none",),
    ),
    "one image": (lambda root: _flat(root, 1), ("at least 2 images", "got 1")),
    "train without val": (lambda root: _splits(root, "train/a"), ("val", "missing")),
    "pictures beside splits": (
        lambda root: _splits(root, "train/b", "val/c", "/stray"),
        ("either pictures or train/ and val/", "stray.png"),
    ),
    **{
        f"{split} without train": (_beside(split), ("must hold train/ and val/", f"got {split}/"))
        for split in ("val", "test", "Training", "validation")
    },
    "holds itself": (_linked, ("does not hold itself",)),
    "no mask": (_removed("masks/p01.png"), ("image", "p01.png", "must have a mask", "no such")),
    "no image": (
        _removed("images/p02.png"),
        ("mask", "p02.png", "must have an image", ".jpeg, .jpg, .png"),
    ),
    "one stem": (
        _picture("images/p01.jpg", "RGB", (16, 12), "JPEG"),
        ("p01.jpg", "p01.png", "stem of its own"),
    ),
    **{
        f"image {end}": (_put(f"images/q{end}", b"picture"), (f"q{end}", f"got {end}"))
        for end in (".heic", ".jp2", ".avif")
    },
    **{
        f"mask {end}": (_renamed("masks/p01.png", end), (f"p01{end}", _LOSSLESS))
        for end in (".jpg", ".webp")
    },
    "size": (_picture("masks/p02.png", "L", (10, 8), "PNG"), ("p02.png", "12x16", "8x10")),
    "colour mask": (
        _picture("masks/p00.png", "RGB", (16, 12), "PNG"),
        ("p00.png", "one channel of class indices", "RGB"),
    ),
    "JPEG named PNG": (
        _picture("masks/p00.png", "L", (16, 12), "JPEG"),
        ("p00.png", "stored without loss", "got JPEG"),
    ),
    "deep grey": (
        _picture("images/p00.png", "I;16", (16, 12), "PNG"),
        ("p00.png", "8 bits a channel", "I;16"),
    ),
    "deep image": (_put("images/p00.png", _DEEP), ("p00.png", "8 bits a channel")),
    "deep mask": (_put("masks/p00.png", _DEEP), ("p00.png", "RGB")),
    "empty file": (_put("images/p00.png", b""), _NO_PICTURE),
    "text": (_put("images/p00.png", b"hello"), _NO_PICTURE),
    "pickle": (_put("images/p00.png", b"\x80\x04\x95pickle."), _NO_PICTURE),
    "broken GIF": (_put("images/p00.png", b"GIF89a" + b"\0" * 99), _NO_PICTURE),
    **{
        f"bomb {side}": (
            _put("images/p00.png", _png(side, side, 8, b"\0" * 100)),
            ("p00.png", "pixels"),
        )
        for side in (10_000, 60_000)
    },
    "no labels": (_unlabelled(""), ("label at least one pixel", "none labelled")),
    "no labels to validate": (_unlabelled("val"), ("validation split", "none labelled")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_in_one_line(tmp_path: Path, fault: str) -> None:
    make, words = FAULTS[fault]
    _refused(make(tmp_path), *words)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    _refused(tmp_path / "file", "must exist and hold", "the file")


def test_deep_colours_are_no_colours_of_a_labelmap(tmp_path: Path) -> None:
    _put("masks/p00.png", _DEEP)(tmp_path)
    (tmp_path / "labelmap.txt").write_text("a:0,0,0\nb:1,1,1\n")
    _refused(tmp_path, "p00.png", "of 16 bits")


def test_a_gif_named_png_is_read_and_a_film_is_not(tmp_path: Path) -> None:
    _flat(tmp_path)
    pictures = [Image.new("RGB", (16, 12), (shade, 0, 0)) for shade in (9, 200)]
    path = tmp_path / "images" / "p00.png"
    pictures[1].save(path, format="GIF")
    assert load_folder(tmp_path).train.images[0][0].unique().tolist() == [200]
    pictures[0].save(path, format="GIF", save_all=True, append_images=pictures[1:])
    _refused(tmp_path, "p00.png", "a file of one picture, got 2")


@pytest.mark.parametrize("kept", [0, 5, 60, 0.5, -13])
@pytest.mark.parametrize("end", [".png", ".jpg"])
def test_truncated_images(tmp_path: Path, kept: float, end: str) -> None:
    path = _two(tmp_path, end=end, size=(60, 80)) / "images" / f"a{end}"
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    _refused(tmp_path, f"a{end}", "corrupt or truncated")


@pytest.mark.parametrize("place", [9, 20, 30, 45, 60])
def test_flipped_bits_in_a_mask(tmp_path: Path, place: int) -> None:
    path = _flat(tmp_path) / "masks" / "p00.png"
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)
    _refused(tmp_path, "p00.png", "corrupt or truncated")


# Orientation tags.


def _turned(path: Path, tag: int) -> None:
    with Image.open(path) as picture:
        exif = picture.getexif()
        exif[0x0112] = tag
        picture.save(path, exif=exif)


@pytest.mark.parametrize("tag", range(1, 9))
def test_a_tag_is_followed_as_the_mask_shows_or_refused(tmp_path: Path, tag: int) -> None:
    path = _two(tmp_path, end=".jpg") / "images" / "a.jpg"
    _turned(path, tag)
    if 1 < tag < 5:
        _refused(tmp_path, "a.jpg", "stored upright", f"tag {tag}")
        return
    with Image.open(path) as picture:
        stored = np.asarray(picture)
        shown = np.asarray(ImageOps.exif_transpose(picture))
    kept = load_folder(tmp_path).train.images[0].numpy().transpose(1, 2, 0)
    assert np.array_equal(kept, stored), "the mask has the size as stored"
    if tag > 1:
        Image.fromarray(np.eye(16, 12, dtype=np.uint8)).save(tmp_path / "masks" / "a.png")
        turned = load_folder(tmp_path).train
        assert np.array_equal(turned.images[0].numpy().transpose(1, 2, 0), shown)
        assert turned.origins[0] is not None
        assert turned.origins[0].size == Size(16, 12)


def test_a_square_that_may_be_turned_and_a_turned_mask_are_refused(tmp_path: Path) -> None:
    _two(tmp_path, end=".jpg", size=(12, 12))
    _turned(tmp_path / "masks" / "b.png", 3)
    _refused(tmp_path, "mask", "b.png", "orientation tag, got 3")
    _turned(tmp_path / "images" / "a.jpg", 6)
    _refused(tmp_path, "a.jpg", "tag 6")


# Real photographs.


@pytest.mark.data
def test_camvid(camvid_root: Path) -> None:
    """Masks lie on their images: in daylight the sky outshines the asphalt."""
    data = load_folder(camvid_root, short_side=180)
    assert (len(data.train), len(data.validation)) == (64, 20)
    assert data.train.sizes() == (Size(180, 240),)
    assert data.train.classes[:4] == ("Sky", "Building", "Pole", "Road")
    assert len(data.train.classes) == 11
    labels = np.unique(torch.stack(data.train.masks).numpy()).tolist()
    assert labels == [*range(11), IGNORE]
    for image, mask in zip(data.train.images[::8], data.train.masks[::8], strict=True):
        sky, road = (image[:, mask == index].float().mean() for index in (0, 3))
        assert sky > road + 20


@pytest.mark.data
def test_coco(coco_root: Path) -> None:
    data, part = load_folder(coco_root, short_side=96), load_folder(coco_root / "scenes", limit=3)
    assert (len(data.train), len(data.validation)) == (26, 27)
    assert data.train.classes[:3] == ("person", "bicycle", "car")
    assert "sky-other-merged" in data.train.classes
    assert not any(name.startswith("class ") for name in data.train.classes)
    labels = np.unique(np.concatenate([mask.numpy().ravel() for mask in data.train.masks]))
    assert int(labels[:-1].max()) < len(data.train.classes)
    assert int(labels[-1]) == IGNORE
    assert part.train.source == "folder scenes, training split"
    people = load_folder(coco_root / "people").train
    assert (len(people), people.classes) == (5, ("background", "person"))
    labels = np.unique(np.concatenate([mask.numpy().ravel() for mask in people.masks]))
    assert labels.tolist() == [0, 1, IGNORE]
