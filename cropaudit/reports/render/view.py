"""What the HTML report shows beyond the report's own fields: rows, intervals and pictures.

Mappings are put in the order of their keys, so that a report read back from canonical JSON, where
keys are sorted, renders to the same bytes as the one that was written.
"""

import base64
from collections.abc import Mapping
from typing import NamedTuple

from cropaudit.accounting.geometry.shapes import Size
from cropaudit.accounting.mechanisms.registry import sampler
from cropaudit.audit.results.result import Attack, CanaryPicture, Claim, Utility
from cropaudit.errors import InputError, require
from cropaudit.reports.text import words
from cropaudit.reports.text.intervals import auc_interval, clopper_pearson
from cropaudit.reports.text.numbers import format_percent, format_value, superscript

__all__ = ["Image", "Interval", "auc", "images", "parameters", "point", "rates", "utility_rows"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Widths on the page in CSS pixels.
_IMAGE_WIDTH, _CROP_WIDTH = 420, 220


class Interval(NamedTuple):
    """An estimate with its 95% limits."""

    value: float
    low: float
    high: float


def auc(attack: Attack) -> Interval:
    """Returns the area under an attack's curve."""
    return Interval(attack.auc, *auc_interval(attack.auc, attack.members, attack.nonmembers))


def rates(attack: Attack) -> list[tuple[str, Interval, bool]]:
    """Returns true positive rates by false positive rate.

    Each with whether the games suffice to see one false positive at that rate at all.
    """
    found = sorted(attack.tpr_at_fpr.items(), key=lambda item: (_number(item[0]), item[0]))
    return [_rate(attack, fpr, tpr) for fpr, tpr in found]


def _number(text: str) -> float:
    """Returns a rate's number, or infinity for a text that is none and so sorts last."""
    try:
        return float(text)
    except ValueError:
        return float("inf")


def _rate(attack: Attack, fpr: str, tpr: float) -> tuple[str, Interval, bool]:
    number = _number(fpr)
    legal = 0 <= number <= 1
    shown = superscript(format_percent(number)) if legal else fpr
    share = _proportion(round(tpr * attack.members), attack.members)
    return shown, share, not legal or number * attack.nonmembers >= 1


def _proportion(count: int, trials: int) -> Interval:
    """Returns a proportion with its Clopper-Pearson interval."""
    if trials == 0:
        return Interval(0.0, 0.0, 1.0)
    return Interval(count / trials, *clopper_pearson(count, trials))


def point(attack: Attack) -> tuple[Interval, Interval] | None:
    """Returns the false and the true positive rate at the pre-registered threshold, if any."""
    false, true = attack.false_positives, attack.true_positives
    if attack.threshold is None or false is None or true is None:
        return None
    return _proportion(false, attack.nonmembers), _proportion(true, attack.members)


def parameters(claim: Claim) -> list[tuple[str, str, str]]:
    """Returns symbol, name and value of each native parameter: others can convert the claim."""
    row, column = claim.worst_position
    told = words.records(claim.records, claim.canary_records, claim.canaries)
    largest = f"Largest probability that a crop meets the patch, at row {row}, column {column}"
    return [
        ("", "Sampling of records", sampler(claim.sampler).words),
        ("σ", "Noise multiplier claimed, in units of C", _plain(claim.noise_multiplier)),
        ("", "Noise multiplier configured", _plain(claim.configured_noise_multiplier)),
        ("C", "Clipping norm of one record's gradient", _plain(claim.max_grad_norm)),
        ("N", f"Records: {told}", f"{claim.records:,}"),
        ("B", "Batch (expected size, where it is random)", f"{claim.batch:,}"),
        ("q", "Rate at which a record joins a step", _plain(claim.sample_rate)),
        ("T", "Steps", f"{claim.steps:,}"),
        ("", "Worst image, height × width in pixels", claim.image),
        ("", "Crop", claim.crop),
        ("", "Padding on each side, pixels", str(claim.padding)),
        ("", "Patch", claim.patch),
        ("ρ", largest, _plain(claim.inclusion_probability)),
        ("qρ", "Probability that one step uses the patch", _plain(claim.record_rate)),
        ("δ", "Delta", _plain(claim.delta)),
    ]


def _plain(x: float) -> str:
    """Returns a parameter with six significant digits."""
    return superscript(format_value(x, 6))


def utility_rows(utility: Utility) -> list[tuple[str, float | None, float | None]]:
    """Returns the IoU of every class, and that without noise; none where the class is absent."""
    quiet = utility.per_class_without_noise
    names = sorted({*utility.per_class, *quiet})
    return [(name, utility.per_class.get(name), quiet.get(name)) for name in names]


class Image(NamedTuple):
    """One picture as a data URI, with the patch's place in percent of its sides if known.

    ``width`` and ``height`` are those on the page, in CSS pixels; without an URI it is missing.
    """

    label: str
    alt: str
    uri: str | None = None
    width: int = 0
    height: int = 0
    enlarged: bool = False
    box: tuple[float, ...] | None = None


def images(canary: CanaryPicture, patch: str, pictures: Mapping[str, bytes]) -> list[Image]:
    """Returns the pictures of one canary, those that it does not name left out.

    Args:
        canary: Names the files.
        patch: Its size, HxW, outlined on whole images; any other words are not outlined.
        pictures: PNG files under those names; one that is missing is shown as missing.

    Raises:
        InputError: If a picture is not a PNG file.
    """
    named = (
        ("World A", "image holding content A", canary.world_a, True),
        ("World B", "the same image holding content B", canary.world_b, True),
        ("Labels in world A", "labels of the image in world A", canary.labels_a, True),
        ("Labels in world B", "labels of the image in world B", canary.labels_b, True),
        ("A crop that meets the patch", "crop that meets the patch", canary.crop_hit, False),
        ("A crop that misses it", "crop that misses the patch", canary.crop_miss, False),
        ("The patch, A beside B", "patch in both worlds, enlarged", canary.beside, False),
    )
    return [
        _image(label, f"Canary {canary.name}: {alt}", pictures.get(name), canary, patch, whole)
        for label, alt, name, whole in named
        if name is not None
    ]


def _image(
    label: str, alt: str, data: bytes | None, canary: CanaryPicture, patch: str, whole: bool
) -> Image:
    """Returns one picture, its patch boxed if it shows the whole image."""
    if data is None:
        return Image(label, alt)
    if not data.startswith(_PNG_SIGNATURE) or len(data) < 24:
        raise InputError(f"a picture must be a PNG file, got {data[:8]!r} for {alt}")
    # The header chunk follows the signature: length, "IHDR", width and height, big-endian.
    width, height = (int.from_bytes(data[start : start + 4], "big") for start in (16, 20))
    require(width > 0 and height > 0, alt, "a PNG with pixels", f"{width}x{height}")
    uri = "data:image/png;base64," + base64.b64encode(data).decode("ascii")
    shown = _IMAGE_WIDTH if whole else _CROP_WIDTH
    box = _box(canary.position, patch, width, height) if whole else None
    return Image(label, alt, uri, shown, round(shown * height / width), width < shown, box)


def _box(
    position: tuple[int, int], patch: str, width: int, height: int
) -> tuple[float, ...] | None:
    """Returns the patch's left, top, width and height in percent of the picture's sides."""
    try:
        size = Size.parse(patch, "patch")
    except InputError:  # a disc, a mask or several patches
        return None
    top, left = position
    if top < 0 or left < 0 or top + size.height > height or left + size.width > width:
        return None
    shares = (left / width, top / height, size.width / width, size.height / height)
    return tuple(round(100 * share, 3) for share in shares)
