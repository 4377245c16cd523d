"""The guide's table: transforms of common libraries, run as a user runs them, and their cures."""

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cropaudit.accounting.crop_laws import ResizedCrop
from cropaudit.accounting.geometry import Crop, Size
from cropaudit.accounting.names import PadMode
from cropaudit.audit.conformance.battery import Battery, run_battery
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.subjects import Subjects

__all__ = ["CASES", "Case", "guide_table", "versions"]

_HERE = Path(__file__).parent
_SIDE = Size(100, 100)
_LIBRARIES = ("torch", "torchvision", "timm", "albumentations", "kornia", "opacus", "numpy")
_LONGEST = 150  # letters of a sentence that is told in full


@dataclass(frozen=True)
class Case:
    """One transform.

    Attributes:
        name: In the module of its library.
        claim: In words, for the table; the plain window unless given.
        cure: What to do about it, unless it passes.
        said: The claim.
    """

    name: str
    claim: str = ""
    cure: str = ""
    said: dict[str, Any] = field(default_factory=lambda: {"crop": Crop(_SIDE)})

    @property
    def module(self) -> str:
        """The module that holds it."""
        return "real_others" if self.name[:2] in ("a_", "k_") else "real_torchvision"


def _padded(name: str, mode: PadMode) -> Case:
    return Case(name, f"{mode} padding 40", said={"crop": Crop(_SIDE, 40, mode)})


def _small(name: str) -> Case:
    said = {"crop": Crop(_SIDE, pad_if_needed=True), "image": Size(90, 120)}
    return Case(name, "pad_if_needed, image 90x120", "nearly every window meets the patch", said)


def _resized(name: str, cure: str = "", *, antialias: bool = True) -> Case:
    return Case(name, "resized", cure, {"crop": ResizedCrop(_SIDE, antialias=antialias)})


AFTER = "move it after the crop"
ALONE = "put the crop alone to the test: what follows it sees the crop only"
MASK = "hand it the mask as well, as transforms.v2 does"
FIXED = "its windows are fixed: there is nothing random that could amplify"
MIXES = "leave it out: it mixes images, so that one is in the gradients of others"
NO_CROP = "account for it as no crop (rho = 1)"

CASES: tuple[Case, ...] = (
    Case("crop"),
    Case("crop_flip"),
    _padded("pad_constant", "constant"),
    _padded("pad_edge", "edge"),
    _padded("pad_reflect", "reflect"),
    _padded("pad_symmetric", "symmetric"),
    _small("pad_needed"),
    _resized("resized"),
    _resized("resized_raw", antialias=False),
    Case("iou_crop", cure="it is drawn to boxes: " + NO_CROP),
    Case("scale_jitter", cure="crop first, or claim the rho of the largest window"),
    Case(
        "halved_before",
        cure="crop first, or claim a window of 200x200 and what the filter reads beside it",
    ),
    Case("rotation_before", cure=AFTER),
    Case("rotation_after", cure=ALONE),
    Case("blur_before", cure=AFTER),
    Case("blur_after"),
    Case("constant_before"),
    Case("standard_before", cure=AFTER),
    Case("standard_after"),
    Case("jpeg_before", cure=AFTER),
    Case("jpeg_after"),
    Case("equalize_before", cure=AFTER),
    Case("equalize_after"),
    Case("brightness_before"),
    Case("jitter_before", cure=AFTER),
    Case("auto_before", cure=AFTER),
    Case("auto_after", cure=ALONE),
    Case("solarize_after"),
    Case("auto_alone", cure=MASK),
    Case("erasing_before"),
    Case("erasing_after"),
    Case("five", cure=FIXED),
    Case("ten", cure=FIXED),
    Case("cutmix", cure=MIXES),
    Case("own_blend", cure="claim the rho of both windows together"),
    _resized("resized_by_pillow"),
    Case("v1_crop"),
    _padded("v1_constant", "constant"),
    _padded("v1_edge", "edge"),
    _padded("v1_reflect", "reflect"),
    _padded("v1_symmetric", "symmetric"),
    _small("v1_needed"),
    _resized("v1_resized", MASK),
    _resized("timm_train", MASK),
    _resized("timm_resized", MASK),
    _resized("timm_random", MASK),
    Case("timm_rand_before", cure=AFTER),
    Case("timm_rand_after", cure=ALONE),
    Case("a_crop"),
    Case("a_crop_flip"),
    Case("a_non_empty", cure="use RandomCrop, or " + NO_CROP),
    Case("a_sized", "none", said={}),
    _resized("a_resized"),
    Case("a_boxes", "none", "use RandomCrop, or " + NO_CROP, {}),
    Case("a_clahe_before", cure=AFTER),
    Case("a_clahe_after"),
    Case("a_normal"),
    Case("a_image_before", cure=AFTER),
    Case("a_image_after"),
    _padded("a_pad", "constant"),
    _padded("a_reflect", "reflect"),
    Case("a_distort", cure=AFTER),
    Case("a_affine", cure=AFTER),
    Case("a_noise"),
    Case("a_drop"),
    Case("k_crop"),
    Case("k_images"),
    Case("k_resample"),
    _padded("k_padded", "constant"),
    _resized("k_resized"),
    _resized("k_resized_resample"),
    Case("k_flip"),
    Case("k_affine", cure=AFTER),
    Case("k_equalize", cure=AFTER),
    Case("k_mosaic", cure=MIXES),
    Case("k_mixup"),
)


def guide_table(tick: Callable[[str], None], cases: Sequence[Case] = CASES) -> str:
    """Runs every case and returns a Markdown table."""
    rows = ["| transform | claim | verdict | why | cure |", "|---|---|---|---|---|"]
    for case in cases:
        tick(f"Guide: {case.name}")
        spec = f"tests.study.{case.module}:{case.name}"
        battery = run_battery(Subjects(transform=spec), Claimed(**case.said))
        rows.append(_row(case, battery))
    return "\n".join(rows)


def versions() -> str:
    """Returns the versions of the libraries that were run."""
    return ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)


def _row(case: Case, battery: Battery) -> str:
    odd = battery.failed or battery.undecided
    why = "; ".join(f"*{item.check}*: {_short(item.detail)}" for item in odd)
    claim = case.claim or "window 100x100"
    cure = case.cure if odd else ""
    return f"| {_source(case)} | {claim} | **{battery.verdict}** | {why} | {cure} |"


def _short(words: str) -> str:
    """Returns what was seen and, of a long story, only the cause besides: its last two parts."""
    plain = " ".join(words.split()).replace("|", "/").replace("<", "&lt;")
    if len(plain) <= _LONGEST:
        return plain
    parts = plain.split("; ")
    head = parts[0].split(":")[0] if len(parts) > 1 else parts[0][:_LONGEST].rsplit(" ", 1)[0]
    return "; ".join([head, *parts[1:][-2:]])


def _source(case: Case) -> str:
    """Returns the expression that stands behind a name, as it is written, as Markdown."""
    text = (_HERE / f"{case.module}.py").read_text("utf-8")
    body = ast.parse(text).body
    told = {n.name: ast.get_docstring(n) or "" for n in body if isinstance(n, ast.FunctionDef)}
    for node in body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == case.name:
            words = ast.unparse(node.value)
            return f"`{words}`" if words not in told else f"`{words}`: {told[words]}"
    raise ValueError(f"{case.module} holds no {case.name}")
