"""Tiny data sets in the layouts in which real ones lie on disk, and what is to be read from them.

Every builder writes three images to train on and two to validate with, 6x8 pixels of noise each,
and returns the class names of every pixel ("" where it is ignored).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SHAPE = (6, 8)
Labels = dict[str, np.ndarray]


@dataclass(frozen=True)
class Built:
    """What a folder holds."""

    classes: tuple[str, ...]
    train: Labels
    validation: Labels
    images: dict[str, Path]
    masks: dict[str, Path]


def drawn(names: tuple[str, ...], table: Mapping[int, str], seed: int) -> dict[str, np.ndarray]:
    """Returns random ids of a table for each name, in blocks."""
    rng = np.random.default_rng(seed)
    return {name: rng.choice(sorted(table), size=SHAPE) for name in names}


def labels(ids: np.ndarray, table: Mapping[int, str]) -> np.ndarray:
    return np.vectorize(lambda id_: table[int(id_)], otypes=[object])(ids)


def save_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def save_mask(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def colours(packed: np.ndarray) -> np.ndarray:
    """Returns the channels, red first, of red x 65536 + green x 256 + blue."""
    return np.stack([packed >> 16, (packed >> 8) & 255, packed & 255], axis=-1)


@dataclass(frozen=True)
class Plan:
    """Where a layout puts things, and what its ids mean."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    table: Mapping[int, str]
    classes: tuple[str, ...]
    image: Callable[[str], Path]
    mask: Callable[[str], Path]
    encode: Callable[[np.ndarray], np.ndarray] = lambda ids: ids

    def build(self) -> Built:
        names = self.train + self.validation
        ids = drawn(names, self.table, 3)
        for number, name in enumerate(names):
            save_image(self.image(name), number)
            save_mask(self.mask(name), self.encode(ids[name]))
        found = {name: labels(ids[name], self.table) for name in names}
        return Built(
            self.classes,
            {name: found[name] for name in self.train},
            {name: found[name] for name in self.validation},
            {name: self.image(name) for name in names},
            {name: self.mask(name) for name in names},
        )


CITYSCAPES = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole",
    19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky",
    24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train", 32: "motorcycle",
    33: "bicycle",
}  # fmt: skip


def cityscapes(root: Path) -> Built:
    stems = ("aachen_000000_000019", "aachen_000001_000019", "ulm_000000_000019")
    held = ("lindau_000000_000019", "munster_000000_000019")

    def place(kind: str, end: str) -> Callable[[str], Path]:
        def at(name: str) -> Path:
            stem = name.removesuffix("_leftImg8bit")
            split = "val" if stem in held else "train"
            return root / kind / split / stem.split("_")[0] / (stem + end)

        return at

    for name in ("color", "instanceIds"):
        save_mask(root / f"gtFine/train/aachen/{stems[0]}_gtFine_{name}.png", np.zeros(SHAPE))
    save_image(root / "leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png", 9)
    return Plan(
        tuple(f"{stem}_leftImg8bit" for stem in stems),
        tuple(f"{stem}_leftImg8bit" for stem in held),
        {id_: CITYSCAPES.get(id_, "") for id_ in (*range(34), 255)},
        tuple(CITYSCAPES.values()),
        place("leftImg8bit", "_leftImg8bit.png"),
        place("gtFine", "_gtFine_labelIds.png"),
    ).build()


def a2d2(root: Path) -> Built:
    top = root / "camera_lidar_semantic"
    listed = {
        "#ff0000": "Car 1", "#c80000": "Car 2", "#cc99ff": "Pedestrian 1",
        "#ff00ff": "RD normal street", "#87CEFF": "Sky",
    }  # fmt: skip
    table = {int(key[1:], 16): name.removesuffix(" 1").removesuffix(" 2")
             for key, name in listed.items()}  # fmt: skip
    drives = ("20180807_145028", "20180810_142822", "20181016_082154", "20181107_132730",
              "20181204_170238")  # fmt: skip

    def frame(drive: str, number: int) -> str:
        return f"{drive.replace('_', '')}_camera_frontcenter_{number:09}"

    def place(kind: str) -> Callable[[str], Path]:
        def at(name: str) -> Path:
            drive = f"{name[:8]}_{name[8:14]}"
            file = name.replace("_camera_", f"_{kind}_") + ".png"
            return top / drive / kind / "cam_front_center" / file

        return at

    top.mkdir(parents=True)
    (top / "class_list.json").write_text(json.dumps(listed))
    for kind in ("camera", "label"):  # a drive without frames of this camera
        (top / "20181008_095521" / kind / "cam_side_left").mkdir(parents=True)
    return Plan(
        tuple(frame(drive, 91) for drive in drives[:4]),
        (frame(drives[4], 91), frame(drives[4], 95)),
        table,
        ("Car", "Pedestrian", "RD normal street", "Sky"),
        place("camera"),
        place("label"),
        colours,
    ).build()


SEGNET = ("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car",
          "Pedestrian", "Bicyclist")  # fmt: skip


def camvid_segnet(root: Path) -> Built:
    save_image(root / "test" / "Seq05VD_f00000.png", 9)
    save_mask(root / "testannot" / "Seq05VD_f00000.png", np.zeros(SHAPE))

    def split(name: str) -> str:
        return "val" if name.startswith("0016E5_07") else "train"

    return Plan(
        ("0001TP_006690", "0001TP_006720", "0016E5_00390"),
        ("0016E5_07959", "0016E5_07961"),
        {**dict(enumerate(SEGNET)), 11: ""},
        SEGNET,
        lambda name: root / split(name) / f"{name}.png",
        lambda name: root / f"{split(name)}annot" / f"{name}.png",
    ).build()


def camvid_stills(root: Path) -> Built:
    root.mkdir(parents=True, exist_ok=True)
    (root / "label_colors.txt").write_text(
        "64 128 64\tAnimal\n192 0 128\t\tArchway\n0 128 192 Bicyclist\n64 0 128\tCar\n0 0 0\tVoid\n"
    )
    for name in ("0001TP_008550", "Seq05VD_f00000"):
        save_image(root / "701_StillsRaw_full" / f"{name}.png", 9)
        save_mask(root / "LabeledApproved_full" / f"{name}_L.png", np.zeros((*SHAPE, 3)))
    return Plan(
        ("0001TP_006690", "0006R0_f00930", "0016E5_00390"),
        ("0016E5_07959", "0016E5_08159"),
        {0x408040: "Animal", 0xC00080: "Archway", 0x0080C0: "Bicyclist", 0x400080: "Car", 0: ""},
        ("Animal", "Archway", "Bicyclist", "Car"),
        lambda name: root / "701_StillsRaw_full" / f"{name}.png",
        lambda name: root / "LabeledApproved_full" / f"{name}_L.png",
        colours,
    ).build()


VOC = ("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat",
       "chair", "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant",
       "sheep", "sofa", "train", "tvmonitor")  # fmt: skip


def voc(root: Path) -> Built:
    year = root / "VOCdevkit" / "VOC2012"
    built = Plan(
        ("2007_000032", "2007_000039", "2007_000063"),
        ("2007_000033", "2007_000042"),
        {**dict(enumerate(VOC)), 255: ""},
        VOC,
        lambda name: year / "JPEGImages" / f"{name}.jpg",
        lambda name: year / "SegmentationClass" / f"{name}.png",
    ).build()
    for path in built.masks.values():  # palette files, as the real ones are
        with Image.open(path) as grey:
            indices = np.asarray(grey)
        picture = Image.new("P", (SHAPE[1], SHAPE[0]))
        picture.putpalette([channel for index in range(256) for channel in (index, 255 - index, 7)])
        picture.putdata(indices.ravel().tolist())
        picture.save(path)
    lists = year / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(built.train) + "\n")
    (lists / "val.txt").write_text("\n".join(built.validation) + "\n")
    save_image(year / "JPEGImages" / "2008_000001.jpg", 9)  # without a mask: detection only
    return built


def oxford_pet(root: Path) -> Built:
    built = Plan(
        ("Abyssinian_100", "boxer_7", "pug_12"),
        ("Abyssinian_201", "pug_104"),
        {1: "pet", 2: "background", 3: ""},
        ("background", "pet"),
        lambda name: root / "images" / f"{name}.jpg",
        lambda name: root / "annotations" / "trimaps" / f"{name}.png",
    ).build()
    for split, names in (("trainval", built.train), ("test", built.validation)):
        lines = [f"{name} {number + 1} 1 1" for number, name in enumerate(names)]
        (root / "annotations" / f"{split}.txt").write_text("\n".join(lines) + "\n")
    (root / "annotations" / "trimaps" / "._boxer_7.png").write_bytes(b"desktop")
    return built


def coco_panoptic(root: Path) -> Built:
    names = ("000000000009", "000000000025", "000000000030"), ("000000000139", "000000000285")
    table = {1: "person", 3: "car", 200: "rug-merged", 255: "kept-though-255"}

    def split(name: str) -> str:
        return "val" if name in names[1] else "train"

    # Segments of one category are apart, and use all three channels.
    segment = {1: 0x010203, 3: 0x0000FF, 200: 0xFF0000, 255: 7, 0: 0}
    built = Plan(
        *names,
        {**table, 0: ""},
        tuple(table.values()),
        lambda name: root / f"{split(name)}2017" / f"{name}.jpg",
        lambda name: root / f"panoptic_{split(name)}2017" / f"{name}.png",
        # Colours pack red first, and COCO's segments red last.
        lambda ids: colours(np.vectorize(segment.get)(ids))[..., ::-1],
    ).build()
    (root / "annotations").mkdir()
    for part in ("train", "val"):
        chosen = [name for name in built.masks if split(name) == part]
        values = {
            "images": [{"id": int(name), "file_name": f"{name}.jpg"} for name in chosen],
            "annotations": [
                {
                    "image_id": int(name),
                    "file_name": f"{name}.png",
                    "segments_info": [{"id": segment[c], "category_id": c} for c in table],
                }
                for name in chosen
            ],
            "categories": [{"id": c, "name": name, "isthing": 1} for c, name in table.items()],
        }
        (root / "annotations" / f"panoptic_{part}2017.json").write_text(json.dumps(values))
    return built


def cvat(root: Path) -> Built:
    table = {0: "background", 0xFA3253: "car", 0x2A7DD1: "person", 0x010203: ""}
    built = Plan(
        ("frame_01", "frame_02", "frame_03"),
        ("frame_04",),
        table,
        ("background", "car", "person"),
        lambda name: root / "JPEGImages" / f"{name}.jpg",
        lambda name: root / "SegmentationClass" / f"{name}.png",
        colours,
    ).build()
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::", "car:250,50,83::",
             "person:42,125,209::", "ignore:1,2,3::"]  # fmt: skip
    (root / "labelmap.txt").write_text("\n".join(lines) + "\n")
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    names = [*built.train, *built.validation]
    (root / "ImageSets" / "Segmentation" / "default.txt").write_text("\n".join(names))
    save_mask(root / "SegmentationObject" / "frame_01.png", np.zeros((*SHAPE, 3)))
    return built


def labelme(root: Path) -> Built:
    built = Plan(
        ("p1", "p2", "p3"),
        ("p4",),
        {0: "background", 1: "car", 2: "person", 255: ""},
        ("background", "car", "person"),
        lambda name: root / "JPEGImages" / f"{name}.jpg",
        lambda name: root / "SegmentationClass" / f"{name}.png",
    ).build()
    (root / "class_names.txt").write_text("_background_\ncar\nperson\n")
    save_image(root / "SegmentationClassVisualization" / "p1.jpg", 9)
    (root / "SegmentationClass" / "p1.npy").write_bytes(b"not read")
    return built


def kitti(root: Path) -> Built:
    save_image(root / "testing" / "image_2" / "000000_10.png", 9)
    return Plan(
        ("000000_10", "000001_10", "000002_10"),
        ("000003_10",),
        {id_: CITYSCAPES.get(id_, "") for id_ in range(34)},
        tuple(CITYSCAPES.values()),
        lambda name: root / "training" / "image_2" / f"{name}.png",
        lambda name: root / "training" / "semantic" / f"{name}.png",
    ).build()


def ade20k(root: Path) -> Built:
    top = root / "ADEChallengeData2016"
    named = {1: "wall", 2: "building", 150: "flag"}
    names = {id_: named.get(id_, f"class {id_}") for id_ in range(1, 151)}

    def place(kind: str, end: str) -> Callable[[str], Path]:
        def at(name: str) -> Path:
            split = "validation" if "_val_" in name else "training"
            return top / kind / split / f"{name}{end}"

        return at

    built = Plan(
        ("ADE_train_00000001", "ADE_train_00000002"),
        ("ADE_val_00000001",),
        {0: "", **names},
        tuple(names.values()),
        place("images", ".jpg"),
        place("annotations", ".png"),
    ).build()
    rows = ["Idx\tRatio\tTrain\tVal\tName", "1\t0.15\t9\t9\twall", "2\t0.1\t1\t1\tbuilding, house",
            "150\t0.001\t1\t1\tflag"]  # fmt: skip
    (top / "objectInfo150.txt").write_text("\n".join(rows))
    return built


def bdd100k(root: Path) -> Built:
    top = root / "bdd100k"

    def place(kind: str, end: str) -> Callable[[str], Path]:
        return lambda name: top / kind / ("val" if name > "b" else "train") / f"{name}{end}"

    names = tuple(CITYSCAPES.values())
    return Plan(
        ("a1", "a2"),
        ("b1",),
        {**dict(enumerate(names)), 255: ""},
        names,
        place("images/10k", ".jpg"),
        place("labels/sem_seg/masks", ".png"),
    ).build()


def vistas(root: Path) -> Built:
    def place(kind: str, end: str) -> Callable[[str], Path]:
        return lambda name: (
            root / ("validation" if name > "b" else "training") / kind / f"{name}{end}"
        )

    built = Plan(
        ("a1", "a2"),
        ("b1",),
        {0: "Bird", 1: "Curb", 2: ""},
        ("Bird", "Curb"),
        place("images", ".jpg"),
        place("v2.0/labels", ".png"),
    ).build()
    labels = [{"readable": name, "evaluate": name != "Unlabeled", "color": [0, 0, 0]}
              for name in ("Bird", "Curb", "Unlabeled")]  # fmt: skip
    (root / "config_v2.0.json").write_text(json.dumps({"labels": labels}))
    save_mask(root / "training" / "v1.2" / "labels" / "a1.png", np.zeros(SHAPE))
    return built


def roboflow(root: Path) -> Built:
    def place(end: str) -> Callable[[str], Path]:
        return lambda name: root / ("valid" if name > "b" else "train") / f"{name}{end}"

    built = Plan(
        ("a1_jpg.rf.0a", "a2_jpg.rf.0b"),
        ("b1_jpg.rf.0c",),
        {0: "background", 1: "plate"},
        ("background", "plate"),
        place(".jpg"),
        place("_mask.png"),
    ).build()
    for split in ("train", "valid"):
        (root / split / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, plate\n")
    return built


def folder(root: Path) -> Built:
    def place(kind: str) -> Callable[[str], Path]:
        return lambda name: root / kind / ("val" if name > "c" else "train") / f"{name}.png"

    table = {0: "sky", 3: "road", 9: "", 255: ""}
    built = Plan(
        ("a", "b", "c"), ("d", "e"), table, ("sky", "road"), place("images"), place("masks")
    ).build()
    (root / "classes.txt").write_text("0 sky\n3 road\n9 void\n")
    return built


BUILDERS: dict[str, tuple[str, Callable[[Path], Built]]] = {
    "cityscapes": ("cityscapes", cityscapes),
    "a2d2": ("a2d2", a2d2),
    "camvid-segnet": ("camvid", camvid_segnet),
    "camvid-stills": ("camvid", camvid_stills),
    "voc": ("voc", voc),
    "oxford-pet": ("oxford-pet", oxford_pet),
    "coco-panoptic": ("coco-panoptic", coco_panoptic),
    "cvat": ("cvat", cvat),
    "labelme": ("labelme", labelme),
    "kitti": ("kitti", kitti),
    "ade20k": ("ade20k", ade20k),
    "bdd100k": ("bdd100k", bdd100k),
    "vistas": ("vistas", vistas),
    "roboflow": ("roboflow", roboflow),
    "folder": ("folder", folder),
}
