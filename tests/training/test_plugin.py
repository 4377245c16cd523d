"""A user's own model: trained, attacked and made again by its file, known by its digest."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner, Result

from cropaudit.cli.app import app
from cropaudit.errors import InputError
from cropaudit.training.models.build import build_model, recipe
from cropaudit.training.models.plugin import plugin_digest

pytestmark = pytest.mark.usefixtures("one_thread")

NETS = """
from dataclasses import dataclass
from torch import nn
from beside import WIDTH

@dataclass
class Settings:
    width: int = WIDTH

def make_model(classes):
    width = Settings().width
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Dropout(0.3),
        nn.Conv2d(width, classes, 1),
    )

def one_more(classes):
    return nn.Conv2d(3, classes + 1, 1)

def smaller(classes):
    return nn.Conv2d(3, classes, 3)

def frozen(classes):
    return nn.Conv2d(3, classes, 1).requires_grad_(False)

def raises(classes):
    raise RuntimeError("no\\nmodel today")

def nothing(classes):
    return None
"""


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("WIDTH = 8\n")
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    return path


def run_cli(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_model_of_a_file_is_mended_and_fixed_by_its_seed(nets: Path) -> None:
    name = f"{nets}:make_model"
    one, same, other = (build_model(name, 4, seed) for seed in (1, 1, 2))
    images = torch.randn(2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one(images), same(images))
    assert not torch.equal(one(images), other(images))
    assert one(images).shape == (2, 4, 20, 24)
    kinds = {type(module) for module in one.modules()}
    assert nn.GroupNorm in kinds
    assert nn.BatchNorm2d not in kinds
    assert recipe(name).mode == "hooks"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("one_more", r"logits for images \(1, 3, 32, 32\) are of shape \(1, 4, 32, 32\), got"),
        ("smaller", r"are of shape \(1, 4, 32, 32\), got \(1, 4, 30, 30\)"),
        ("frozen", "model must be trainable"),
        ("raises", "must make a model, got RuntimeError: no model today"),
        ("nothing", "returns as a Module, got NoneType"),
        ("absent", "model must be a function of .*nets.py, got absent"),
        ("", "model must be path/to/file.py:function"),
    ],
)
def test_what_is_no_model_is_refused_on_one_line(nets: Path, function: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        build_model(f"{nets}:{function}", 4, 0)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def make_model(:\n")
    for name, words in (("none.py", "No such file"), ("broken.py", "SyntaxError")):
        with pytest.raises(InputError, match=words):
            build_model(f"{tmp_path / name}:make_model", 4, 0)


def test_a_saved_run_is_made_again_until_the_file_changes(nets: Path, tmp_path: Path) -> None:
    values = {
        "patch": "6x8",
        "data": {"images": 4, "validation": 1, "size": "24x32"},
        "crop": {"size": "16x16", "per_image": 2},
        "training": {"model": f"{nets}:make_model", "batch": 2, "steps": 2, "twins": []},
        "game": {"canary_slots": 10, "black_box_windows": 2},
    }
    config, run = tmp_path / "own.yaml", tmp_path / "run"
    config.write_text(json.dumps(values))
    done = run_cli("train", config, "--out", run)
    assert done.exit_code == 0, done.output
    record = json.loads((run / "train.json").read_text())
    assert record["model"] == f"{nets}:make_model"
    assert record["config"]["training"]["model_sha256"] == plugin_digest(f"{nets}:make_model")
    attack = "attack", run, "--attack", "white-box", "--attack", "lira-online", "--references", "4"
    done = run_cli(*attack, "--json")
    assert done.exit_code == 0, done.output
    nets.write_text(NETS + "\n# changed\n")
    done = run_cli(*attack, "--force")
    assert isinstance(done.exception, InputError)
    assert "must be the file of digest" in str(done.exception)
    assert "\n" not in str(done.exception)
