"""Conformance in a user's own test suite, without a plugin: one function that raises or returns."""

from collections.abc import Mapping
from typing import Any

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.audit.conformance.battery import LEVEL, Battery, examine
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.process import observe, observe_objects
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.errors import require

__all__ = ["assert_conforms"]


def assert_conforms(
    transform: Any = None,
    *,
    loader: Any = None,
    pipeline: Any = None,
    model: Any = None,
    trainer: Any = None,
    image: str | int = "360x480",
    patch: str | int = 20,
    crop: str | int | None = None,
    claimed: Claimed | None = None,
    style: str = "",
    level: float = LEVEL,
    seed: int = 0,
    quick: bool = False,
) -> Battery:
    """Raises unless every check that applies passes or cannot tell.

    What is given runs in a copy of this process, or in one of its own where it is given by name.

    Args:
        transform: Called on (image, mask): an object, a class or a factory; or its name, as
            ``path/to/file.py:Name``. So are the others.
        loader: ``make_loader(dataset)``.
        pipeline: ``train(model, dataset)``.
        model: The module, or ``make_model()``.
        trainer: ``make_step(model)``.
        image: Size of the images to probe with, HxW.
        patch: Size of the patch.
        crop: Size of the window, uniform and without padding; read off the windows if none.
        claimed: All that is claimed, in the place of image, patch and crop.
        style: How the transform is called; found by trial if empty.
        level: Probability of any false alarm.
        seed: Of all draws.
        quick: Whether a fifth of the draws will do.

    Returns:
        All findings; look there for checks that were skipped or could not tell.

    Raises:
        AssertionError: If a check fails, with what was seen.
        InputError: If nothing is given, or a value is out of range.
    """
    parts = {"transform": transform, "loader": loader, "pipeline": pipeline}
    parts |= {"model": model, "trainer": trainer}
    given = {name: part for name, part in parts.items() if part is not None}
    names: dict[str, Any] = {name: _name(part) for name, part in given.items()}
    subjects = Subjects(**names, style=style, seed=seed, quick=quick)
    said = claimed or _claimed(image, patch, crop)
    objects = {name: part for name, part in given.items() if not isinstance(part, str)}

    def looked(how: Subjects) -> Seen:
        return _seen(objects, how, said, len(given))

    battery = examine(looked(subjects), said, level, lambda: looked(subjects.reseeded()))
    if battery.failed:
        raise AssertionError("; ".join(_words(item) for item in battery.failed))
    return battery


def _seen(objects: Mapping[str, Any], subjects: Subjects, claimed: Claimed, given: int) -> Seen:
    if not objects:
        return observe(subjects, claimed)
    legal = "all objects, or all names as path/to/file.py:Name"
    require(len(objects) == given, "subjects", legal, "both")
    return observe_objects(objects, subjects, claimed)


def _claimed(image: str | int, patch: str | int, crop: str | int | None) -> Claimed:
    return Claimed(
        image=Size.parse(image, "image"),
        patch=Rectangle(Size.parse(patch, "patch")),
        crop=None if crop is None else Crop(Size.parse(crop, "crop")),
    )


def _name(part: Any) -> str:
    if isinstance(part, str):
        return part
    kind = part if hasattr(part, "__qualname__") else type(part)
    return f"{kind.__module__}:{kind.__qualname__}"


def _words(finding: Any) -> str:
    where = f" [{finding.outcome.where}]" if finding.outcome.where else ""
    return f"{finding.check}: {finding.detail}{where}"
