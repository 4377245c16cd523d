"""Every layout of a data set: what is read from tiny folders, and what is said of broken ones."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from cropaudit.accounting.geometry import Size
from cropaudit.errors import InputError
from cropaudit.training.data import IGNORE, Origin, SegmentationData
from cropaudit.training.datasets.a2d2 import _split
from cropaudit.training.datasets.registry import KINDS, LAYOUTS, find_layout, load_dataset
from cropaudit.training.folder_layout import Pair
from tests.training.dataset_folders import (
    BUILDERS,
    SHAPE,
    Built,
    Labels,
    cityscapes,
    coco_panoptic,
    oxford_pet,
    save_image,
    voc,
)

EACH = pytest.mark.parametrize("case", sorted(BUILDERS))


def built(case: str, root: Path) -> tuple[str, Built]:
    kind, build = BUILDERS[case]
    return kind, build(root)


def refused(kind: str, root: Path | None, *words: str, limit: int | None = None) -> str:
    """Asserts that loading fails with one line that holds the words."""
    with pytest.raises(InputError) as caught:
        load_dataset(kind, root, limit=limit)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return message


def shown(data: SegmentationData) -> Labels:
    """Returns the class name of each pixel, "" where it is ignored."""
    names = np.array([*data.classes, *[""] * (IGNORE + 1 - len(data.classes))], dtype=object)
    return {name: names[m.numpy()] for name, m in zip(data.names, data.masks, strict=True)}


def assert_same(found: Labels, wanted: Labels) -> None:
    assert list(found) == list(wanted)
    for name in wanted:
        assert np.array_equal(found[name], wanted[name]), name


# What is read.


@EACH
def test_masks_classes_and_splits_are_the_layouts(case: str, tmp_path: Path) -> None:
    kind, wanted = built(case, tmp_path / "set")
    for asked in (kind, "auto"):
        data = load_dataset(asked, tmp_path / "set")
        assert data.train.classes == data.validation.classes == wanted.classes
        assert_same(shown(data.train), wanted.train)
        assert_same(shown(data.validation), wanted.validation)
        assert data.train.source.startswith(f"{kind} set")
        assert data.train.source.endswith(", training split")


@EACH
def test_pixels_are_those_of_the_file_and_origins_name_it(case: str, tmp_path: Path) -> None:
    _, wanted = built(case, tmp_path / "set")
    data = load_dataset("auto", tmp_path / "set").train
    for index, name in enumerate(data.names):
        with Image.open(wanted.images[name]) as picture:
            stored = np.asarray(picture.convert("RGB"))
        assert np.array_equal(data.images[index].numpy().transpose(1, 2, 0), stored)
        origin = data.origin(index)
        assert origin is not None
        assert origin.size == Size(*SHAPE)
        assert wanted.images[name].as_posix().endswith(origin.path)
        assert not Path(origin.path).is_absolute()


@EACH
def test_find_layout_knows_it_by_names(case: str, tmp_path: Path) -> None:
    kind, _ = built(case, tmp_path / "set")
    assert find_layout(tmp_path / "set").kind == kind


@EACH
def test_short_side_keeps_the_stored_size(case: str, tmp_path: Path) -> None:
    built(case, tmp_path)
    data = load_dataset("auto", tmp_path, short_side=3).train
    assert data.sizes() == (Size(3, 4),)
    assert {mask.shape for mask in data.masks} == {torch.Size((3, 4))}
    assert {origin.size for origin in data.origins if origin} == {Size(*SHAPE)}


@EACH
def test_a_limit_opens_no_other_image(case: str, tmp_path: Path) -> None:
    _, wanted = built(case, tmp_path)
    for part in (wanted.train, wanted.validation):
        for name in list(part)[1:]:
            wanted.images[name].write_bytes(b"not read")
            wanted.masks[name].write_bytes(b"not read")
    data = load_dataset("auto", tmp_path, limit=1)
    assert data.train.names == (next(iter(wanted.train)),)
    assert data.validation.names == (next(iter(wanted.validation)),)
    refused("auto", tmp_path, "corrupt or truncated", limit=2)


@EACH
def test_progress_counts_images(case: str, tmp_path: Path) -> None:
    built(case, tmp_path)
    seen: list[int] = []
    data = load_dataset("auto", tmp_path, limit=2, progress=seen.append)
    assert seen == list(range(1, len(data.train) + len(data.validation) + 1))


# What is said of broken folders.


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and path.name[0] != ".")


def read_files(case: str, wanted: Built, root: Path) -> list[Path]:
    """Returns the files that loading needs: pictures that are listed, and lists."""
    pictures = {*wanted.images.values(), *wanted.masks.values()}
    lists = {path for path in files(root) if path.suffix in (".json", ".txt")}
    return sorted(pictures | lists)


@EACH
def test_any_missing_file_is_named(case: str, tmp_path: Path) -> None:
    kind, wanted = built(case, tmp_path)
    for path in read_files(case, wanted, tmp_path):
        if path.name in ("classes.txt", "objectInfo150.txt"):  # names are optional
            continue
        content = path.read_bytes()
        path.unlink()
        message = refused(kind, tmp_path)
        # The partner is named where images are listed by what is there, or the emptied folder.
        stem = path.stem.removesuffix("_leftImg8bit").replace("_camera_", "_label_")
        assert stem in message or f"{path.parent} must" in message, message
        path.write_bytes(content)
    assert len(load_dataset(kind, tmp_path).train) == len(wanted.train)


@EACH
def test_any_truncated_file_is_named(case: str, tmp_path: Path) -> None:
    kind, wanted = built(case, tmp_path)
    for path in read_files(case, wanted, tmp_path):
        if path.suffix == ".txt":
            continue
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        refused(kind, tmp_path, path.name)
        path.write_bytes(content)


@EACH
def test_a_mask_of_another_size_is_named(case: str, tmp_path: Path) -> None:
    kind, wanted = built(case, tmp_path)
    path = wanted.masks[next(iter(wanted.train))]
    with Image.open(path) as mask:
        mask.crop((0, 0, 5, 4)).save(path)
    refused(kind, tmp_path, path.name, "6x8", "4x5")


@pytest.mark.parametrize("layout", LAYOUTS[:-1], ids=lambda layout: layout.kind)
def test_a_missing_set_is_told_its_structure(layout, tmp_path: Path) -> None:
    refused(layout.kind, tmp_path / "nowhere", layout.structure, "nowhere")
    refused(layout.kind, tmp_path, layout.structure)
    refused(layout.kind, None, layout.structure, "got none")


def test_auto_takes_any_other_folder_for_the_generic_one(tmp_path: Path) -> None:
    refused("auto", tmp_path / "nowhere", "existing folder", "nowhere")
    refused("auto", tmp_path, "images/ and masks/")
    (tmp_path / "file").write_text("x")
    refused("auto", tmp_path / "file", "must be a folder", "got the file")


def test_unknown_kinds_are_listed(tmp_path: Path) -> None:
    refused("imagenet", tmp_path, *KINDS, "got imagenet")


@pytest.mark.parametrize(
    ("remove", "kind", "build"),
    [
        ("gtFine", "cityscapes", cityscapes),
        ("leftImg8bit/val", "cityscapes", cityscapes),
        ("VOCdevkit/VOC2012/SegmentationClass", "voc", voc),
        ("images", "oxford-pet", oxford_pet),
        ("panoptic_val2017", "coco-panoptic", coco_panoptic),
        ("train2017", "coco-panoptic", coco_panoptic),
    ],
)
def test_missing_parts_are_named(
    remove: str, kind: str, build: Callable[[Path], Built], tmp_path: Path
) -> None:
    build(tmp_path)
    (tmp_path / remove).rename(tmp_path / "elsewhere")
    refused(kind, tmp_path, Path(remove).name, "got no such folder")


# Peculiarities.


def test_a_part_of_the_devkit_will_do_and_the_last_year_is_read(tmp_path: Path) -> None:
    wanted = voc(tmp_path)
    year = tmp_path / "VOCdevkit" / "VOC2012"
    (tmp_path / "VOCdevkit" / "VOC2007" / "JPEGImages").mkdir(parents=True)
    for root in (tmp_path, tmp_path / "VOCdevkit", year):
        assert_same(shown(load_dataset("auto", root).train), wanted.train)


def test_masks_of_coco_may_lie_beside_their_list(tmp_path: Path) -> None:
    wanted = coco_panoptic(tmp_path)
    for split in ("train", "val"):
        name = f"panoptic_{split}2017"
        (tmp_path / name).rename(tmp_path / "annotations" / name)
    assert_same(shown(load_dataset("auto", tmp_path).train), wanted.train)


def test_a_segment_that_no_list_names_is_refused(tmp_path: Path) -> None:
    wanted = coco_panoptic(tmp_path)
    path = wanted.masks[next(iter(wanted.train))]
    Image.fromarray(np.full((*SHAPE, 3), (9, 1, 0), dtype=np.uint8)).save(path)
    refused("auto", tmp_path, path.name, "segments of its JSON file", "got 265")


@pytest.mark.parametrize("values", ["[]", "{}", '{"images": [], "annotations": 3}', "null"])
def test_lists_of_another_form_are_refused(values: str, tmp_path: Path) -> None:
    coco_panoptic(tmp_path)
    (tmp_path / "annotations" / "panoptic_train2017.json").write_text(values)
    refused("auto", tmp_path, "panoptic_train2017.json", "categories")


def test_categories_of_both_splits_agree(tmp_path: Path) -> None:
    coco_panoptic(tmp_path)
    path = tmp_path / "annotations" / "panoptic_val2017.json"
    path.write_text(path.read_text().replace('"car"', '"van"'))
    refused("auto", tmp_path, "panoptic_val2017.json", "must name the categories of")


def test_a_lone_drive_is_split_by_time_and_drives_are_held_out_whole(tmp_path: Path) -> None:
    _, wanted = built("a2d2", tmp_path)
    top = tmp_path / "camera_lidar_semantic"
    for drive in sorted(top.iterdir())[:4]:
        if drive.is_dir():
            drive.rename(tmp_path / drive.name)
    held = {name[:14] for name in wanted.validation}
    data = load_dataset("a2d2", top)
    assert {name[:14] for name in data.validation.names} == held
    assert not {name[:14] for name in data.train.names} & held
    (top / "20181107_132730").rename(tmp_path / "20181107_132730")
    lone = load_dataset("a2d2", top)
    assert lone.train.names + lone.validation.names == tuple(wanted.validation)


@pytest.mark.parametrize(("drives", "held"), [(2, [1]), (5, [4]), (11, [4, 9])])
def test_every_fifth_drive_is_held_out(drives: int, held: list[int], tmp_path: Path) -> None:
    pairs = [(Pair(Path(f"{drive}.png"), Path("mask.png")),) for drive in range(drives)]
    train, validation = _split(pairs, tmp_path)
    assert [int(pair.image.stem) for pair in validation] == held
    assert {int(pair.image.stem) for pair in train} == set(range(drives)) - set(held)


def test_stray_colours_are_ignored_and_many_are_refused(tmp_path: Path) -> None:
    _, wanted = built("camvid-stills", tmp_path)
    name = next(iter(wanted.train))
    save_image(wanted.images[name], 1)
    big = np.full((60, 80, 3), (64, 0, 128), dtype=np.uint8)
    Image.fromarray(big).save(wanted.images[name])
    big[:4, :12] = (1, 2, 3)
    Image.fromarray(big).save(wanted.masks[name])
    mask = load_dataset("camvid", tmp_path, limit=1).train.masks[0]
    assert (mask[:4, :12] == IGNORE).all()
    assert int((mask == IGNORE).sum()) == 48
    big[4, 0] = (1, 2, 3)
    Image.fromarray(big).save(wanted.masks[name])
    refused("camvid", tmp_path, wanted.masks[name].name, "#010203", "class list")


def test_grey_masks_where_colours_are_wanted_are_refused(tmp_path: Path) -> None:
    _, wanted = built("a2d2", tmp_path)
    path = wanted.masks[next(iter(wanted.train))]
    Image.fromarray(np.zeros(SHAPE, dtype=np.uint8)).save(path)
    refused("a2d2", tmp_path, path.name, "colour PNG", "mode L")


def test_faulty_lists_of_colours(tmp_path: Path) -> None:
    built("camvid-stills", tmp_path / "c")
    (tmp_path / "c" / "label_colors.txt").write_text("1 2 Car\n")
    refused("camvid", tmp_path / "c", "label_colors.txt", "red green blue name", "'1 2 Car'")
    built("a2d2", tmp_path / "a")
    path = tmp_path / "a" / "camera_lidar_semantic" / "class_list.json"
    path.write_text('{"red": "Car 1"}')
    refused("a2d2", tmp_path / "a", "class_list.json", "#rrggbb", "'red'")
    path.write_text("[]")
    refused("a2d2", tmp_path / "a", "class_list.json", "must map colours to names")


def test_scenes_need_no_folder(tmp_path: Path) -> None:
    data = load_dataset("scenes", None, short_side=32, limit=3)
    assert (len(data.train), len(data.validation)) == (3, 3)
    assert data.train.sizes() == (Size(32, 64),)
    assert not torch.equal(data.train.images[0], data.validation.images[0])
    refused("scenes", tmp_path, "must be left out")


def test_lists_of_cvat_name_the_splits(tmp_path: Path) -> None:
    built("cvat", tmp_path)
    lists = tmp_path / "ImageSets" / "Segmentation"
    (lists / "default.txt").unlink()
    (lists / "train.txt").write_text("frame_04\n")
    (lists / "val.txt").write_text("frame_02\nframe_01\n")
    data = load_dataset("auto", tmp_path)
    assert data.train.names == ("frame_04",)
    assert data.validation.names == ("frame_02", "frame_01")
    (lists / "val.txt").unlink()
    (lists / "odd.txt").write_text("frame_01\n")
    refused("auto", tmp_path, "one list, or train.txt and val.txt, got odd, train")


def test_cvat_without_its_images_is_told(tmp_path: Path) -> None:
    built("cvat", tmp_path)
    (tmp_path / "JPEGImages").rename(tmp_path / "elsewhere")
    refused("auto", tmp_path, "with its images saved", "JPEGImages")


@pytest.mark.parametrize("text", ['{"labels": 3}', "[]", '{"labels": [{"readable": "a"}]}', "{}"])
def test_faulty_vistas_lists(text: str, tmp_path: Path) -> None:
    built("vistas", tmp_path)
    (tmp_path / "config_v2.0.json").write_text(text)
    refused("auto", tmp_path, "config_v2.0.json", "readable and evaluate")


@pytest.mark.parametrize("text", ["a, b\n0, x, y\n", "a, b\nzero, x\n", "a, b\n0, x\n"])
def test_faulty_roboflow_lists(text: str, tmp_path: Path) -> None:
    built("roboflow", tmp_path)
    for split in ("train", "valid"):
        (tmp_path / split / "_classes.csv").write_text(text)
    refused("auto", tmp_path, "_classes.csv")


# torchvision's own classes list the same files.


def listed(data: SegmentationData, root: Path) -> list[str]:
    parent = root.resolve().parent
    return [str(parent / o.path) for o in data.origins if o is not None]


def test_torchvision_lists_the_same_cityscapes(tmp_path: Path) -> None:
    wanted = cityscapes(tmp_path)
    data = load_dataset("cityscapes", tmp_path)
    for split, part in (("train", data.train), ("val", data.validation)):
        theirs = torchvision.datasets.Cityscapes(tmp_path, split, target_type="semantic")
        assert sorted(theirs.images) == sorted(listed(part, tmp_path))
        masks = [str(wanted.masks[Path(path).stem]) for path in theirs.images]
        assert [target[0] for target in theirs.targets] == masks


def test_torchvision_lists_the_same_voc(tmp_path: Path) -> None:
    wanted = voc(tmp_path)
    data = load_dataset("voc", tmp_path)
    for split, part in (("train", data.train), ("val", data.validation)):
        theirs = torchvision.datasets.VOCSegmentation(tmp_path, image_set=split)
        year = tmp_path / "VOCdevkit" / "VOC2012"
        assert [os.path.normpath(path) for path in theirs.images] == listed(part, year)
        assert theirs.masks == [str(wanted.masks[name]) for name in part.names]
        for index in range(len(part)):
            ids = torch.from_numpy(np.array(theirs[index][1]))
            assert torch.equal(part.masks[index], ids), "21 classes in order, 255 ignored"


def test_torchvision_lists_the_same_pets(tmp_path: Path) -> None:
    oxford_pet(tmp_path / "oxford-iiit-pet")
    for root in (tmp_path, tmp_path / "oxford-iiit-pet"):
        data = load_dataset("auto", root)
        for split, part in (("trainval", data.train), ("test", data.validation)):
            theirs = torchvision.datasets.OxfordIIITPet(tmp_path, split, "segmentation")
            assert len(theirs) == len(part)
            for index in range(len(part)):
                picture, trimap = theirs[index]
                ours = part.images[index].numpy().transpose(1, 2, 0)
                assert np.array_equal(np.asarray(picture), ours)
                to_class = np.array([9, 1, 0, IGNORE])
                assert np.array_equal(to_class[np.asarray(trimap)], part.masks[index].numpy())


# What `SegmentationData` keeps of files.


def test_taking_images_takes_their_origins() -> None:
    image, mask = torch.zeros(3, 4, 5, dtype=torch.uint8), torch.zeros(4, 5, dtype=torch.uint8)
    origins = tuple(Origin(f"set/{n}.png", Size(8, 10)) for n in range(2))
    data = SegmentationData((image,) * 3, (mask,) * 3, ("a", "b"), ("x", "y", "z"), "s", origins)
    taken = data.take([2, 1])
    assert taken.origins == (None, origins[1])
    assert [data.origin(index) for index in range(3)] == [*origins, None]


# Real photographs.


@pytest.mark.data
def test_the_real_folders_are_generic_ones(camvid_root: Path, coco_root: Path) -> None:
    for root, count in ((camvid_root, 64), (coco_root, 26), (coco_root / "people", 5)):
        assert find_layout(root).kind == "folder"
        data = load_dataset("auto", root, short_side=60).train
        assert len(data) == count
        assert all(origin and (root.parent / origin.path).is_file() for origin in data.origins) or (
            root == coco_root  # whose part "scenes" is read
        )


@pytest.mark.data
def test_real_frames_as_segnet_has_them(camvid_root: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split).symlink_to(camvid_root / "images" / split)
        (tmp_path / f"{split}annot").symlink_to(camvid_root / "masks" / split)
    data, generic = load_dataset("auto", tmp_path, limit=6), load_dataset("auto", camvid_root)
    assert data.train.source.startswith("camvid ")
    assert data.train.classes == generic.train.classes
    for index, name in enumerate(data.train.names):
        same = generic.train.names.index(name)
        assert torch.equal(data.train.masks[index], generic.train.masks[same])
        assert torch.equal(data.train.images[index], generic.train.images[same])
