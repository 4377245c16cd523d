"""A run that diverges ends every command in one line that says so, and leaves no half of a run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cropaudit.cli import app
from cropaudit.errors import InputError

SMALL = {
    "name": "small",
    "seed": 3,
    "patch": "8x8",
    "data": {"images": 12, "validation": 4, "size": "48x96", "short_side": 48},
    "crop": {"size": "32x32"},
    "training": {
        "model": "tiny-net",
        "batch": 8,
        "steps": 8,
        "max_grad_norm": 0.5,
        "learning_rate": 1e30,
    },
    "game": {
        "probe_slots": 1000,
        "control_slots": 200,
        "canary_slots": 10,
        "black_box_windows": 2,
    },
}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Runs a command that is to be refused and returns its one line."""
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))

    def refused(command: str, *options: str) -> str:
        out = ["--out", str(tmp_path / "out")]
        done = CliRunner().invoke(app, [command, str(path), *out, *options])
        assert isinstance(done.exception, InputError), done.output
        assert "\n" not in str(done.exception)
        return str(done.exception)

    return refused


def test_a_training_run_leaves_nothing_but_its_checkpoints(run, tmp_path: Path) -> None:
    words = run("train")
    assert "training diverged at step" in words
    assert words.endswith("nothing of it was kept")
    assert not (tmp_path / "out").exists()
    words = run("train", "--checkpoint-every", "1")
    kept = tmp_path / "out" / "checkpoints"
    assert f"the last weights kept are {kept}/step-00000" in words
    assert not (tmp_path / "out" / "train.json").exists()


def test_an_audit_says_which_training_diverged(run, tmp_path: Path) -> None:
    words = run("audit")
    assert "training (the audited model) diverged at step" in words
    assert "learning_rate times max_grad_norm must be small enough to train, got 1e+30" in words
    assert not (tmp_path / "out").exists()
