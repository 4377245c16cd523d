"""``cropaudit attack`` through its real entry point, on a small run and on real photographs."""

import csv
import json
import shlex
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml
from typer.testing import CliRunner

from cropaudit.audit.attack_names import known_attacks
from cropaudit.cli import app
from cropaudit.errors import InputError

Run = Callable[..., CompletedProcess[str]]

SMALL = {
    "name": "small",
    "seed": 3,
    "patch": "8x8",
    "data": {"images": 12, "validation": 12, "size": "48x96"},
    "crop": {"size": "32x32"},
    "training": {
        "model": "tiny-net",
        "batch": 8,
        "steps": 10,
        "max_grad_norm": 0.5,
        "twins": [],
    },
    "game": {"canary_slots": 12, "black_box_windows": 2},
    "references": {"models": 8},
}


@pytest.fixture(scope="module")
def run(cropaudit: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    config = folder / "small.yaml"
    config.write_text(yaml.safe_dump(SMALL))
    done = cropaudit("train", config, "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_scores_and_bounds(cropaudit: Run, run: Path) -> None:
    """The run is honest: a false contradiction has at most 5%, and the seed is fixed."""
    done = cropaudit("attack", run, "--attack", "white-box", "--attack", "lira-online")
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("Adversary: sees every noisy update", "AUC", "epsilon >=", "Claim: epsilon <="):
        assert words in done.stdout
    with (run / "attacks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["attack"] for row in rows] == ["white-box"] * 12 + ["lira-online"] * 12
    assert [row["member"] for row in rows[:12]] == [row["member"] for row in rows[12:]]
    (hint,) = [line for line in done.stdout.splitlines() if "cropaudit estimate" in line]
    command = shlex.split(hint.partition(": ")[2])
    again = cropaudit(*command[1:], "--json")
    assert again.returncode == 0, again.stderr
    assert {item["attack"] for item in json.loads(again.stdout)["attacks"]} == {
        "white-box",
        "lira-online",
    }
    refused = cropaudit("attack", run, "--attack", "loss")
    assert refused.returncode == 2
    assert "out must be a new file, or give --force" in refused.stderr


def test_json_goes_where_it_is_told(cropaudit: Run, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    done = cropaudit("attack", run, "--attack", "loss", "--windows", 1, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["scores"] == str(out / "attacks.csv")
    assert (out / "attacks.csv").is_file()
    assert 0 <= document["results"][0]["auc"] <= 1
    assert document["attacks"][0]["access"] == "final model"


def test_attacks_are_listed() -> None:
    done = CliRunner().invoke(app, ["attack", "--attack", "list"])
    assert done.exit_code == 0
    for item in known_attacks():
        assert f"  {item.name}: " in done.stdout
    assert "Carlini et al. 2022" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--attack", "loss"], "run must be a folder of cropaudit train"),
        (["nowhere", "--attack", "loss"], "got nowhere"),
        (["nowhere"], "attack must be one of white-box"),
        (["nowhere", "--attack", "psychic"], "got psychic"),
    ],
)
def test_wrong_usage_is_one_line(options: list[str], words: str, tmp_path: Path) -> None:
    with chdir(tmp_path):
        done = CliRunner().invoke(app, ["attack", *options])
    assert isinstance(done.exception, InputError)  # the entry point prints it and leaves with 2
    assert words in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not list(tmp_path.iterdir())


@pytest.mark.data
def test_real_photographs_are_trained_on_and_attacked(
    cropaudit: Run, camvid_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "camvid"
    few = ["training.steps=2", "training.twins=[]", "game.canary_slots=10"]
    changes = [part for text in few for part in ("--set", text)]
    done = cropaudit("train", "camvid-pspnet", "--data", camvid_root, "--out", out, *changes)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((out / "train.json").read_text())
    assert record["claim"]["records"] == 64  # the cars stand in the photographs themselves
    assert all("car" in item["name"].lower() for item in record["canaries"])
    moved = cropaudit("attack", out, "--attack", "loss", "--windows", 2, "--data", camvid_root)
    assert moved.returncode == 0, moved.stdout + moved.stderr
    assert "loss" in moved.stdout
