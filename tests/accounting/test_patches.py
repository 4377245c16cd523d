"""Patches from words, files and layouts; sizes from headers."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cropaudit.accounting.geometry import Crop, PixelMask, Rectangle, Several, Size
from cropaudit.accounting.image_sizes import image_size, image_sizes
from cropaudit.accounting.inclusion import inclusion, inclusion_map
from cropaudit.accounting.patches import disc, parse_patch, read_mask, union
from cropaudit.errors import InputError


@pytest.mark.parametrize("radius", [0, 1, 3, 10])
def test_disc(radius: int) -> None:
    row, column = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    np.testing.assert_array_equal(disc(radius).pixels, row**2 + column**2 <= radius**2)


def test_disc_of_the_reference_table() -> None:
    found = inclusion(Size(40, 40), Crop(Size(10, 10)), disc(3))
    assert found.probability == pytest.approx(0.245578, abs=1e-6)


@pytest.mark.parametrize("radius", [-1, 4001])
def test_bad_discs(radius: int) -> None:
    with pytest.raises(InputError, match=f"disc radius must be between 0 and 4000, got {radius}"):
        disc(radius)


def test_union_of_a_fixed_layout() -> None:
    layout = union([(disc(1), (4, -2)), (Rectangle(Size(2, 3)), (5, 0))])
    expected = [[0, 1, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1]]
    np.testing.assert_array_equal(layout.pixels, np.array(expected, dtype=bool))
    with pytest.raises(InputError, match="parts must be at least one, got 0"):
        union([])
    with pytest.raises(InputError, match="layout must be at most 67108864 pixels, got 1x"):
        union([(disc(0), (0, 0)), (disc(0), (0, 10**9))])


def test_union_is_less_than_the_sum() -> None:
    image, crop, box = Size(30, 30), Crop(Size(9, 9)), Rectangle(Size(3, 3))
    both = inclusion(image, crop, union([(box, (0, 0)), (box, (0, 6))])).probability
    one = inclusion(image, crop, box).probability
    free = inclusion(image, crop, Several(box, 2)).probability
    assert one < both <= free <= 2 * one


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(path)
    return path


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
def test_masks_from_files(tmp_path: Path, mode: str) -> None:
    pixels = np.zeros((5, 7), dtype=np.uint8)
    pixels[1, 2], pixels[3, 6] = 255, 200
    path = tmp_path / "mask.png"
    if mode == "P":
        picture = Image.new("P", (7, 5))
        picture.putpalette([9, 9, 9, 0, 0, 0])  # the indices count, not the colours
        picture.putdata((pixels > 0).astype(int).ravel().tolist())
        picture.save(path)
    elif mode == "I;16":
        save(path, pixels.astype(np.uint16) * 256)
    else:
        save(path, pixels, mode)
    np.testing.assert_array_equal(read_mask(path).pixels, pixels > 0)
    parsed = parse_patch(f"mask:{path}")
    assert isinstance(parsed, PixelMask)
    np.testing.assert_array_equal(parsed.pixels, pixels > 0)


def fault(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_mask(path)
    words = str(caught.value)
    assert str(path) in words
    assert len(words.splitlines()) == 1
    return words


def test_bad_masks(tmp_path: Path) -> None:
    assert "must be a whole PNG file" in fault(tmp_path / "absent.png")
    (tmp_path / "text.png").write_text("a\nb")
    assert "must be a whole PNG file" in fault(tmp_path / "text.png")
    jpeg = tmp_path / "picture.png"
    Image.new("L", (4, 4)).save(jpeg, format="JPEG")
    assert "must be a whole PNG file" in fault(jpeg)
    assert "other than zero" in fault(save(tmp_path / "zero.png", np.zeros((3, 3), np.uint8)))
    clear = save(tmp_path / "clear.png", np.zeros((3, 3, 4), np.uint8))
    assert "must be grey, palette or RGB, got RGBA" in fault(clear)
    whole = save(tmp_path / "whole.png", np.ones((40, 40), np.uint8) * 7).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:-30])
    assert "must be a whole PNG file" in fault(tmp_path / "cut.png")


@pytest.mark.parametrize("side", [9_000, 100_000])
def test_a_bomb_is_not_decoded(tmp_path: Path, side: int) -> None:
    header = struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    bomb += struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb)
    words = fault(path)
    assert "at most 67108864 pixels" in words or "far larger one" in words


def test_patches_from_words() -> None:
    assert parse_patch("10x20") == Rectangle(Size(10, 20))
    assert parse_patch(7) == parse_patch("7") == Rectangle(Size(7, 7))
    assert parse_patch(" 2*10x10 ") == Several(Rectangle(Size(10, 10)), 2)
    assert parse_patch("3 * 4") == Several(Rectangle(Size(4, 4)), 3)
    circle, circles = parse_patch("disc:3"), parse_patch("2*disc:3")
    assert isinstance(circle, PixelMask)
    assert isinstance(circles, Several)
    np.testing.assert_array_equal(circle.pixels, disc(3).pixels)
    assert str(circles) == "2*mask of 29 pixels in 7x7"


@pytest.mark.parametrize(
    "text", ["", "axb", "4x", "-3", "2*", "*4", "2*2*4", "disc", "disc:", "disc:-1", "mask:", "1.5"]
)
def test_bad_words_name_the_legal_forms(text: str) -> None:
    with pytest.raises(InputError, match=r"patch must be HxW, N, disc:R, mask:FILE.png, or K\*"):
        parse_patch(text)


@pytest.mark.parametrize("text", ["0", "0x4", "0*4", "disc:5000"])
def test_illegal_sizes_in_words(text: str) -> None:
    with pytest.raises(InputError, match="must be"):
        parse_patch(text)


def test_parsed_patches_are_counted() -> None:
    rho = inclusion_map(Size(20, 30), Crop(Size(5, 5)), disc(2))
    assert rho.shape == (16, 26)
    assert inclusion(Size(20, 30), Crop(Size(5, 5)), disc(2)).patch == "mask of 13 pixels in 5x5"


# Sizes of images.


def test_sizes_of_a_folder(tmp_path: Path) -> None:
    for name, size in (
        ("train/a.jpg", (30, 20)),
        ("train/b.JPEG", (30, 20)),
        ("val/deep/c.png", (8, 9)),
        ("d.bmp", (8, 9)),
        ("e.webp", (40, 10)),
        ("masks/train/a.png", (1, 1)),
        ("Labels/a.png", (2, 2)),
        (".hidden/a.png", (3, 3)),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(path)
    (tmp_path / "notes.txt").write_text("no image")
    assert image_sizes(tmp_path) == {Size(9, 8): 2, Size(10, 40): 1, Size(20, 30): 2}
    assert list(image_sizes(tmp_path)) == sorted(image_sizes(tmp_path))


def test_only_the_header_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.ones((50, 60), np.uint8))
    path.write_bytes(path.read_bytes()[:60])
    assert image_size(path) == Size(50, 60)


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="image folder must be a folder, got "):
        image_sizes(tmp_path / "absent")
    with pytest.raises(
        InputError, match="image folder must be one with jpg, png, bmp, webp, tif or gif"
    ):
        image_sizes(tmp_path)
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(
        InputError, match=r"a\.png must be a whole JPEG or PNG or BMP or WEBP or TIFF"
    ):
        image_sizes(tmp_path)


@pytest.mark.parametrize("end", ["tif", "tiff", "webp", "bmp", "gif"])
def test_the_worst_size_is_not_missed_by_its_ending(tmp_path: Path, end: str) -> None:
    Image.new("L", (30, 30)).save(tmp_path / "a.jpg")
    Image.new("L", (20, 10)).save(tmp_path / f"b.{end}")
    assert image_sizes(tmp_path) == {Size(10, 20): 1, Size(30, 30): 1}


@pytest.mark.parametrize("end", ["heic", "jp2", "AVIF", "dng"])
def test_pictures_that_are_not_read_are_refused(tmp_path: Path, end: str) -> None:
    Image.new("L", (30, 30)).save(tmp_path / "a.jpg")
    (tmp_path / f"b.{end}").write_bytes(b"some picture")
    with pytest.raises(InputError, match=rf"whose pictures are \.bmp.*got .*b\.{end}"):
        image_sizes(tmp_path)


@pytest.mark.parametrize("tag", range(1, 9))
def test_a_turned_image_counts_in_both_sizes(tmp_path: Path, tag: int) -> None:
    picture = Image.new("RGB", (30, 20))
    exif = picture.getexif()
    exif[0x0112] = tag
    for end in ("jpg", "webp", "png"):
        picture.save(tmp_path / f"a.{end}", exif=exif)
    sizes = {Size(20, 30): 3} if tag < 5 else {Size(20, 30): 3, Size(30, 20): 3}
    assert image_sizes(tmp_path) == sizes


def test_sizes_of_real_folders(camvid_root: Path, coco_root: Path) -> None:
    assert image_sizes(camvid_root) == {Size(360, 480): 110}
    sizes = image_sizes(coco_root)
    assert sum(sizes.values()) == 66
    assert all(max(size.height, size.width) <= 640 for size in sizes)
