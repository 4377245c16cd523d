"""One registry: an attack is one file and one line there, and every list is read from it."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn
from typer.testing import CliRunner, Result

from cropaudit.attacks import registry
from cropaudit.attacks.base import AttackedRun, Game, Querying, Work
from cropaudit.attacks.registry import ATTACKS, one_run_attacks, querying
from cropaudit.audit.config.audit_config import load_config
from cropaudit.audit.experiment import own_pipeline
from cropaudit.audit.runs.dry_run import dry_run
from cropaudit.cli.app import app

pytestmark = pytest.mark.usefixtures("one_thread")


def loudest_weight(run: AttackedRun, model: nn.Module, seed: int) -> NDArray[np.float64]:
    """The toy: looks at nothing but the sum of the weights."""
    total = sum(float(p.detach().sum()) for p in model.parameters())
    return np.random.default_rng(seed).normal(size=len(run.slots)) + total


TOY = Querying(name="toy", title="A toy", source="nobody", ask=loudest_weight)


@pytest.fixture
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ATTACKS, "toy", TOY)
    for constant, few in (("_WINDOWS", 300), ("_NEAR", 60), ("_REPLAYS", 10), ("_STEPS", 60)):
        monkeypatch.setattr(own_pipeline, constant, few)


def run_cli(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_every_attack_describes_itself() -> None:
    games = {"hits": 1, "misses": 1, "refresh": 1, "models": 2, "targets": 2, "references": 3}
    work = Work(100, 8.0, 10, 4, games)
    for name, attack in ATTACKS.items():
        assert attack.name == name
        assert attack.title
        assert attack.adversary
        assert attack.cost(work) >= 0
        assert "{model}" in attack.model or isinstance(attack, Game)
        assert attack.references == attack.needs.startswith("references")
    assert len({one.title for one in one_run_attacks()}) == len(one_run_attacks())
    assert set(querying()) < {one.name for one in one_run_attacks()} < set(ATTACKS)


@pytest.mark.usefixtures("_toy")
def test_a_toy_attack_runs_through_audit_and_attack(tmp_path: Path) -> None:
    values = {
        "patch": "6x8",
        "data": {"images": 4, "validation": 1, "size": "24x32"},
        "crop": {"size": "16x16"},
        "training": {"model": "tiny-net", "batch": 2, "steps": 2, "twins": []},
        "game": {
            "probe_slots": 200,
            "control_slots": 200,
            "canary_slots": 10,
            "attacks": ["probe", "toy"],
        },
    }
    path = tmp_path / "toy.yaml"
    path.write_text(json.dumps(values))
    run = tmp_path / "run"
    done = run_cli("audit", path, "--out", run)
    assert done.exit_code in (0, 4), done.output
    report = json.loads((run / "report.json").read_text())
    assert [(attack["name"], attack["title"]) for attack in report["attacks"]] == [
        ("probe", "Pipeline probe"),
        ("toy", "A toy"),
    ]
    assert "A toy" in (run / "report.html").read_text()
    done = run_cli("attack", run, "--attack", "toy", "--json")
    assert done.exit_code == 0, done.output
    assert '"toy"' in done.output
    assert "toy: has nothing else (after nobody)" in run_cli("attack", "--attack", "list").output
    work = dry_run(load_config(str(path), {}), attacks=True, measure=False).cost.work
    assert work[-1].what == "toy attack"


def test_an_unknown_attack_is_refused_by_the_configuration() -> None:
    with pytest.raises(ValueError, match=r"game.attacks.* must be one of probe, two-world, white"):
        load_config("quickstart", {"game.attacks": ["probe", "toy"]})
    with pytest.raises(ValueError, match=r"references.attack: must be one of loss, .*, got toy"):
        load_config("quickstart", {"references.attack": "toy"})
    assert "toy" not in registry.ATTACKS
