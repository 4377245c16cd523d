"""Every legal value of every enumerated key, through a tiny audit to its report.

Values are grouped into few audits; the last test says which values no audit took, so that a key or
a value that is new must be added here.
"""

from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
import yaml
from pydantic import BaseModel
from safetensors.torch import save_file
from torchvision.models import mobilenet_v2

from cropaudit.audit import own_pipeline, run
from cropaudit.audit.config import AuditConfig, load_config
from cropaudit.audit.run import run_audit
from cropaudit.audit.stages import silent
from cropaudit.reports.html import render_html
from cropaudit.reports.store import canonical_json
from cropaudit.reports.summary import summary_lines

ALL = ["probe", "white-box", "black-box", "two-world", "reference"]
ONE_RUN = ALL[:3]
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
        "game.attacks": ALL,
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
        "game.attacks": ["probe", "reference"],
        "references.attack": "learned",
    },
    "plate": {
        "canary.design": "plate",
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
        "game.attacks": ["probe"],
    },
}


def values_of(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, object]]:
    """Yields every enumerated key with each of its values."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from values_of(kind, f"{path}{name}.")
        yield from ((path + name, value) for value in literals(kind))


def literals(kind: object) -> Iterator[object]:
    if get_origin(kind) is Literal:
        yield from get_args(kind)
    else:
        for part in get_args(kind):
            yield from literals(part)


def taken(config: AuditConfig) -> Iterator[tuple[str, object]]:
    for key, _ in values_of(AuditConfig):
        value = reduce(getattr, key.split("."), config)
        yield from ((key, item) for item in (value if isinstance(value, tuple) else (value,)))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "encoder.safetensors"
    torch.manual_seed(0)
    save_file(mobilenet_v2(weights=None).state_dict(), path)
    return path


def config_of(name: str, folder: Path, weights: Path | None) -> AuditConfig:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({"name": name}))
    more = {} if weights is None else {"training.weights": str(weights)}
    return load_config(str(path), {**TINY, **RUNS[name], **more})


@pytest.mark.parametrize("name", RUNS)
def test_every_value_reaches_its_report(
    name: str, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for constant, few in (("_WINDOWS", 300), ("_NEAR", 60), ("_REPLAYS", 10), ("_STEPS", 60)):
        monkeypatch.setattr(own_pipeline, constant, few)
    if name != "poisson":  # no key's value makes a difference to it, and it takes half of the time
        monkeypatch.setattr(run, "detectable_epsilon", lambda *_: 99.0)
    config = config_of(name, tmp_path, weights if name == "frozen" else None)
    kept: dict[str, bytes] = {}

    def keep(raw: Mapping[str, bytes]) -> None:
        kept.update(raw)

    outcome = run_audit(config, "walk", silent, keep)
    assert set(kept) == set(outcome.raw) >= {f"{item}.csv" for item in config.game.attacks}
    assert [item.name for item in outcome.report.attacks] == list(config.game.attacks)
    assert canonical_json(outcome.report)
    assert summary_lines(outcome.report)
    html = render_html(outcome.report, inclusion=outcome.inclusion, pictures=outcome.pictures)
    assert outcome.report.verdict.status in html
    added = 0 if not config.canary.added else 10
    assert outcome.report.claim.canary_records == added


def test_no_value_is_left_out(tmp_path: Path) -> None:
    walked = {
        pair
        for name in RUNS
        for pair in taken(config_of(name, tmp_path, tmp_path if name == "frozen" else None))
    }
    assert set(values_of(AuditConfig)) - walked == set()
