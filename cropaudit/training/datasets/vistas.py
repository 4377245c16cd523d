"""Mapillary Vistas: ``training`` and ``validation`` with images and labels, beside a config JSON.

Indices are places in the list of labels; those that are not evaluated are ignored. Of version 2.0
the labels are a folder deeper (``v2.0/labels``), where 1.2 may stand beside it: the newest is read.
"""

from pathlib import Path

from cropaudit.errors import InputError
from cropaudit.training.datasets.classes import ClassMap
from cropaudit.training.datasets.layout import Layout, Listing, by_name, read_json

__all__ = ["VISTAS"]

_VERSIONS = (
    ("v2.0/labels", "config_v2.0.json"),
    ("v1.2/labels", "config_v1.2.json"),
    ("labels", "config.json"),
)


def _version(root: Path) -> tuple[str, str] | None:
    found = [item for item in _VERSIONS if (root / "training" / item[0]).is_dir()]
    return next((item for item in found if (root / item[1]).is_file()), None)


def _open(root: Path) -> Listing:
    version = _version(root)
    if version is None:
        raise InputError(f"vistas folder {root} must hold {VISTAS.structure}, got neither version")
    labels, config = version
    train, validation = (
        by_name(root, (f"{split}/images", f"{split}/{labels}"), "vistas")
        for split in ("training", "validation")
    )
    return Listing(root, train, validation, _classes(root / config))


def _classes(path: Path) -> ClassMap:
    try:
        labels = read_json(path)["labels"]
        kept = {n: str(item["readable"]) for n, item in enumerate(labels) if item["evaluate"]}
    except (KeyError, TypeError, IndexError) as error:
        reason = f"{type(error).__name__} {error}"
        raise InputError(
            f"{path} must hold labels with readable and evaluate, got {reason}"
        ) from None
    if len(kept) < 2:
        raise InputError(f"{path} must evaluate at least 2 labels, got {len(kept)}")
    return ClassMap.of(kept)


VISTAS = Layout(
    kind="vistas",
    structure="config_v2.0.json (or v1.2) and {training,validation}/images/*.jpg with "
    "{training,validation}/v2.0/labels/*.png",
    sign=lambda root: _version(root) is not None,
    open=_open,
)
