"""Every legal value of every enumerated key, through a tiny audit, its folder and its report.

Values are grouped into few audits, several keys changing in each. What the models and registries
have beyond those groups, a value that is new among them, is walked in audits of its own that are
made up here; only what needs other settings as well must be added below.
"""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torchvision.models import mobilenet_v2

from cropaudit.attacks.registry import ATTACKS
from cropaudit.audit.config.audit_config import AuditConfig, load_config
from cropaudit.audit.config.choices import chosen_values, enumerated_keys
from cropaudit.audit.experiment import own_pipeline
from cropaudit.audit.runs import run
from cropaudit.audit.runs.run import run_audit
from cropaudit.reports.render.formats import draw
from cropaudit.reports.store import (
    Finished,
    open_run,
    prepare_run_folder,
    write_files,
    write_report,
)
from cropaudit.stages import silent

ALL = list(ATTACKS)
ONE_RUN = ["probe", "white-box", "black-box"]
TINY: dict[str, Any] = {
    "patch": "8x8",
    "data.images": 6,
    "data.validation": 2,
    "data.size": "32x48",
    "data.short_side": 32,
    "crop.size": "24x24",
    "training.model": "tiny-net",
    "training.batch": 4,
    "training.steps": 3,
    "training.twins": [],
    "game.probe_slots": 200,
    "game.control_slots": 200,
    "game.canary_slots": 10,
    "game.black_box_windows": 1,
    "game.attacks": ONE_RUN,
    "two_world.models": 20,
    "two_world.hits": 1,
    "two_world.misses": 1,
    "references.targets": 4,
    "references.models": 8,
    "references.windows": 1,
}
RUNS: dict[str, dict[str, Any]] = {
    "poisson": {
        "training.sampler": "poisson",
        "training.norm": "group",
        "canary.design": "opposed",
        "training.grad_sample_mode": "hooks",
        "training.twins": ["no-noise", "no-crop"],
        "game.attacks": ALL,
        "crop.law": "uniform",
        "crop.clipped": "together",
        "crop.mode": "constant",
        "canary.records": "added",
        "canary.positions": "worst",
        "references.attack": "lira-online",
        "references.initial": "level",
        "two_world.initial": "level",
        "two_world.adversary": "known",
        "claim.family": "mechanism",
    },
    "fixed": {
        "training.sampler": "fixed",
        "training.grad_sample_mode": "functorch",
        "training.schedule": "poly",
        "game.attacks": [*ONE_RUN, "two-world", "reference"],
        "crop.mode": "reflect",
        "crop.padding": 2,
        "canary.background": "natural",
        "canary.texture": "natural",
        "canary.records": "replaced",
        "data.images": 10,  # a canary in every one of them
        "references.attack": "rmia",
        "references.initial": "public",
        "two_world.initial": "random",
        "two_world.adversary": "unknown",
        "claim.family": "none",
        "claim.epsilon": 20.0,
    },
    "shuffle": {
        "training.sampler": "shuffle",
        "training.grad_sample_mode": "ew",
        "training.schedule": "cosine",
        "crop.mode": "symmetric",
        "crop.padding": 2,
        "canary.design": "label-only",
        "canary.background": "ignore",
        "canary.texture": "flat",
        "canary.positions": "random",
        "game.attacks": ["probe", "reference"],
        "references.attack": "lira-offline",
        "references.initial": "random",
    },
    "cyclic": {
        "training.sampler": "cyclic",
        "training.grad_sample_mode": "ghost",
        "training.schedule": "steps",
        "training.schedule_every": 1,
        "crop.mode": "edge",
        "crop.padding": 2,
        "canary.background": "sparse",
        "canary.texture": "periodic",
        "canary.positions": "stratified",
        "game.attacks": ["probe", "reference"],
        "references.attack": "calibrated",
    },
    "full": {
        "training.sampler": "full",
        "training.batch": 16,
        "training.schedule": "constant",
        "game.attacks": [*ONE_RUN, "reference"],
        "references.attack": "loss",
        "canary.design": "bright",
        "canary.texture": "blocks",
    },
    "face": {
        "training.grad_sample_mode": "auto",
        "training.precision": "float32",
        "canary.design": "face",
        "crop.law": "resized",
        "crop.interpolation": "bilinear",
        "game.attacks": ["probe", "reference"],
        "references.attack": "learned",
    },
    "plate": {
        "canary.design": "plate",
        "crop.law": "resized",
        "crop.interpolation": "nearest",
        "game.attacks": ["probe", "reference"],
        "references.attack": "quantile",
    },
    "object": {
        "canary.design": "real-object",
        "canary.objects": ["car", "person", "pole", "vegetation"],
        "canary.per_image": 4,
        "patch": "20x20",
        "data.images": 12,
        "data.size": "64x96",
        "game.attacks": ["probe", "reference"],
        "references.attack": "joint",
    },
    "frozen": {
        "training.model": "pspnet:mobilenet_v2",
        "training.norm": "frozen-batch",
        "training.precision": "bf16",
        "crop.law": "resized",
        "crop.interpolation": "bicubic",
        "crop.per_image": 2,
        "crop.clipped": "apart",
        "game.attacks": ["probe"],
    },
}


def config_of(settings: Mapping[str, Any], folder: Path, weights: Path) -> AuditConfig:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({"name": "walk"}))
    pretrained = settings.get("training.norm") == "frozen-batch"
    more = {"training.weights": str(weights)} if pretrained else {}
    return load_config(str(path), {**TINY, **settings, **more})


def others(groups: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields settings that take the values which no group takes, one of each key at a time."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        walked = {
            pair
            for settings in groups.values()
            for pair in chosen_values(config_of(settings, place, place / "none"))
        }
    left: dict[str, list[str]] = {}
    for key, value in dict.fromkeys(enumerated_keys(AuditConfig)):
        if (key, value) not in walked:
            left.setdefault(key, []).append(value)
    for values in zip_longest(*left.values()):
        taken = {k: v for k, v in zip(left, values, strict=True) if v is not None}
        yield {key: [value] if key in LISTS else value for key, value in taken.items()}


LISTS = ("game.attacks", "training.twins", "canary.objects")
WALKS = {**RUNS, **{f"more-{at}": settings for at, settings in enumerate(others(RUNS))}}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "encoder.safetensors"
    torch.manual_seed(0)
    save_file(mobilenet_v2(weights=None).state_dict(), path)
    return path


@pytest.mark.parametrize("name", WALKS)
def test_every_value_reaches_its_report(
    name: str, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for constant, few in (("_WINDOWS", 300), ("_NEAR", 60), ("_REPLAYS", 10), ("_STEPS", 60)):
        monkeypatch.setattr(own_pipeline, constant, few)
    if name != "poisson":  # no key's value makes a difference to it, and it takes half of the time
        monkeypatch.setattr(run, "detectable_epsilon", lambda *_: 99.0)
    config = config_of(WALKS[name], tmp_path, weights)
    folder = prepare_run_folder(tmp_path / "run", force=False)
    kept: dict[str, bytes] = {}

    def keep(raw: Mapping[str, bytes]) -> None:
        kept.update({f"raw/{item}": data for item, data in raw.items()})
        write_files(folder, kept)

    outcome = run_audit(config, "walk", silent, keep)
    assert set(kept) >= {f"raw/{item}.csv" for item in config.game.attacks}
    assert [item.name for item in outcome.report.attacks] == list(config.game.attacks)
    write_files(folder, outcome.pictures)
    write_report(folder, outcome.report)
    found = open_run(folder)
    assert found.document == outcome.report
    page = draw("html", found)
    assert f'class="verdict {outcome.report.verdict.status}"'.encode() in page
    assert b"picture not stored" not in page
    assert b"The map was not stored" not in page
    assert draw("terminal", found)
    assert draw("junit", found)
    assert outcome.report.claim.canary_records == (10 if config.canary.added else 0)
    if name == "poisson":  # nothing that the audit had in its hands is missing in its folder
        assert page == draw("html", Finished(outcome.report, {**kept, **outcome.pictures}))


def test_a_value_that_no_group_takes_is_walked() -> None:
    assert not list(others(RUNS))
    first, second = others({name: item for name, item in RUNS.items() if name != "poisson"})
    assert first["references.attack"] == "lira-online"
    assert {*first["training.twins"], *second["training.twins"]} == {"no-noise", "no-crop"}
