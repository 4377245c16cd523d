"""What the HTML report shows beyond the report's own fields: rows, intervals and pictures.

Mappings are put in the order of their keys, so that a report read back from canonical JSON, where
keys are sorted, renders to the same bytes as the one that was written.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cropaudit.accounting.names import SamplerName
from cropaudit.audit.result import Attack, AuditReport, CanaryPicture, Claim, Utility
from cropaudit.errors import InputError, require
from cropaudit.reports import words
from cropaudit.reports.intervals import auc_interval, clopper_pearson
from cropaudit.reports.numbers import format_percent, format_value, superscript

__all__ = [
    "AttackView",
    "CanaryView",
    "ClassRow",
    "Image",
    "Interval",
    "Parameter",
    "Rate",
    "attack_views",
    "canary_views",
    "parameters",
    "utility_rows",
]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Widths on the page in CSS pixels.
_IMAGE_WIDTH, _CROP_WIDTH = 420, 220
_SAMPLERS: dict[SamplerName, str] = {
    "poisson": "Poisson: every record joins every step independently, with probability q",
    "fixed": "fixed size: every step draws B of N records without replacement",
    "shuffle": "shuffle: every epoch visits every record once, in a random order",
    "cyclic": "cyclic: the same batches of B records come round in the same order",
    "full": "full: every step takes every record",
}


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% limits."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rate:
    """A true positive rate at one false positive rate.

    ``resolved`` tells whether the games suffice to see one false positive at that rate at all.
    """

    fpr: str
    tpr: Interval
    resolved: bool


@dataclass(frozen=True)
class AttackView:
    """One attack with its intervals; ``point`` is the pre-registered one, if there is one."""

    attack: Attack
    auc: Interval
    rates: tuple[Rate, ...]
    point: tuple[Interval, Interval] | None


@dataclass(frozen=True)
class Parameter:
    """One native parameter of the claim."""

    symbol: str
    name: str
    value: str


@dataclass(frozen=True)
class Image:
    """One picture as a data URI, with the patch's place in percent of its sides if known.

    ``width`` and ``height`` are those on the page, in CSS pixels.
    """

    label: str
    alt: str
    uri: str | None
    width: int
    height: int
    enlarged: bool
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class CanaryView:
    """The pictures of one canary slot."""

    canary: CanaryPicture
    images: tuple[Image, ...]


@dataclass(frozen=True)
class ClassRow:
    """Intersection over union of one class; none where the class is absent."""

    name: str
    value: float | None
    without_noise: float | None


def attack_views(report: AuditReport) -> list[AttackView]:
    """Returns every attack with intervals beside its estimates."""
    return [_attack_view(attack) for attack in report.attacks]


def _attack_view(attack: Attack) -> AttackView:
    """Returns one attack with intervals beside its estimates."""
    limits = auc_interval(attack.auc, attack.members, attack.nonmembers)
    rates = sorted(attack.tpr_at_fpr.items(), key=lambda item: (_number(item[0]), item[0]))
    return AttackView(
        attack=attack,
        auc=Interval(attack.auc, *limits),
        rates=tuple(_rate(attack, fpr, tpr) for fpr, tpr in rates),
        point=_point(attack),
    )


def _number(text: str) -> float:
    """Returns a rate's number, or infinity for a text that is none and so sorts last."""
    try:
        return float(text)
    except ValueError:
        return float("inf")


def _rate(attack: Attack, fpr: str, tpr: float) -> Rate:
    """Returns one observed rate with its interval."""
    number = _number(fpr)
    legal = 0 <= number <= 1
    return Rate(
        fpr=superscript(format_percent(number)) if legal else fpr,
        tpr=_proportion(round(tpr * attack.members), attack.members),
        resolved=not legal or number * attack.nonmembers >= 1,
    )


def _proportion(count: int, trials: int) -> Interval:
    """Returns a proportion with its Clopper-Pearson interval."""
    if trials == 0:
        return Interval(0.0, 0.0, 1.0)
    return Interval(count / trials, *clopper_pearson(count, trials))


def _point(attack: Attack) -> tuple[Interval, Interval] | None:
    """Returns the false and the true positive rate at the pre-registered threshold."""
    if attack.threshold is None or attack.false_positives is None or attack.true_positives is None:
        return None
    return (
        _proportion(attack.false_positives, attack.nonmembers),
        _proportion(attack.true_positives, attack.members),
    )


def parameters(claim: Claim) -> list[Parameter]:
    """Returns the native parameters, from which others can compute their own epsilon."""
    row, column = claim.worst_position
    rows = [
        ("", "Sampling of records", _SAMPLERS[claim.sampler]),
        ("σ", "Noise multiplier claimed, in units of C", _plain(claim.noise_multiplier)),
        ("", "Noise multiplier configured", _plain(claim.configured_noise_multiplier)),
        ("C", "Clipping norm of one record's gradient", _plain(claim.max_grad_norm)),
        (
            "N",
            "Records: " + words.records(claim.records, claim.canary_records, claim.canaries),
            f"{claim.records:,}",
        ),
        ("B", "Batch (expected size, where it is random)", f"{claim.batch:,}"),
        ("q", "Rate at which a record joins a step", _plain(claim.sample_rate)),
        ("T", "Steps", f"{claim.steps:,}"),
        ("", "Worst image, height × width in pixels", claim.image),
        ("", "Crop", claim.crop),
        ("", "Padding on each side, pixels", str(claim.padding)),
        ("", "Patch", claim.patch),
        (
            "ρ",
            f"Largest probability that a crop meets the patch, at row {row}, column {column}",
            _plain(claim.inclusion_probability),
        ),
        ("qρ", "Probability that one step uses the patch", _plain(claim.record_rate)),
        ("δ", "Delta", _plain(claim.delta)),
    ]
    return [Parameter(*row) for row in rows]


def _plain(x: float) -> str:
    """Returns a parameter with six significant digits."""
    return superscript(format_value(x, 6))


def utility_rows(utility: Utility) -> list[ClassRow]:
    """Returns one row for every class that either model has, by name."""
    names = sorted({*utility.per_class, *utility.per_class_without_noise})
    return [
        ClassRow(name, utility.per_class.get(name), utility.per_class_without_noise.get(name))
        for name in names
    ]


def canary_views(report: AuditReport, pictures: Mapping[str, bytes]) -> list[CanaryView]:
    """Returns every canary with its pictures embedded.

    Args:
        report: Names the files.
        pictures: PNG files under those names; one that is missing is shown as missing.

    Raises:
        InputError: If a picture is not a PNG file.
    """
    return [
        CanaryView(canary, tuple(_images(canary, report.claim.patch, pictures)))
        for canary in report.canaries
    ]


def _images(canary: CanaryPicture, patch: str, pictures: Mapping[str, bytes]) -> list[Image]:
    """Returns the pictures of one canary, those that it does not name left out."""
    named = [
        ("World A", "image holding content A", canary.world_a, True),
        ("World B", "the same image holding content B", canary.world_b, True),
        ("Labels in world A", "labels of the image in world A", canary.labels_a, True),
        ("Labels in world B", "labels of the image in world B", canary.labels_b, True),
        ("A crop that meets the patch", "crop that meets the patch", canary.crop_hit, False),
        ("A crop that misses it", "crop that misses the patch", canary.crop_miss, False),
        ("The patch, A beside B", "patch in both worlds, enlarged", canary.beside, False),
    ]
    return [
        _image(label, f"Canary {canary.name}: {words}", pictures.get(name), place)
        for label, words, name, whole in named
        if name is not None
        for place in [(canary.position, patch) if whole else None]
    ]


def _image(
    label: str, alt: str, data: bytes | None, place: tuple[tuple[int, int], str] | None
) -> Image:
    """Returns one picture as a data URI, its patch boxed if it shows the whole image."""
    if data is None:
        return Image(label, alt, None, 0, 0, False, None)
    if not data.startswith(_PNG_SIGNATURE) or len(data) < 24:
        raise InputError(f"a picture must be a PNG file, got {data[:8]!r} for {alt}")
    # The header chunk follows the signature: length, "IHDR", width and height, big-endian.
    width, height = (int.from_bytes(data[start : start + 4], "big") for start in (16, 20))
    require(width > 0 and height > 0, alt, "a PNG with pixels", f"{width}x{height}")
    uri = "data:image/png;base64," + base64.b64encode(data).decode("ascii")
    box = None if place is None else _box(*place, width, height)
    shown = _CROP_WIDTH if place is None else _IMAGE_WIDTH
    return Image(label, alt, uri, shown, round(shown * height / width), width < shown, box)


def _box(
    position: tuple[int, int], patch: str, width: int, height: int
) -> tuple[float, float, float, float] | None:
    """Returns the patch's left, top, width and height in percent of the picture's sides."""
    size = re.match(r"(\d+)x(\d+)", patch)
    if size is None:
        return None
    (top, left), tall, wide = position, int(size[1]), int(size[2])
    if top < 0 or left < 0 or top + tall > height or left + wide > width:
        return None
    shares = (left / width, top / height, wide / width, tall / height)
    x, y, w, h = (round(100 * share, 3) for share in shares)
    return x, y, w, h
