"""``cropaudit train`` through its real entry point, alone and in two processes of torchrun."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import chdir
from hashlib import sha256
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from cropaudit.cli import app
from cropaudit.errors import InputError

Run = Callable[..., CompletedProcess[str]]

SMALL = {
    "name": "small",
    "seed": 3,
    "patch": "8x8",
    "data": {"images": 12, "validation": 4, "size": "48x96"},
    "crop": {"size": "32x32"},
    "training": {
        "model": "tiny-net",
        "batch": 8,
        "steps": 10,
        "max_grad_norm": 0.5,
        "twins": ["no-noise"],
    },
    "game": {"canary_slots": 10, "black_box_windows": 2},
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


@pytest.fixture(scope="module")
def trained(
    cropaudit: Run, config: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[CompletedProcess[str], Path]:
    out = tmp_path_factory.mktemp("runs") / "small"
    return cropaudit("train", config, "--out", out, "--checkpoint-every", 4), out


def test_a_run_folder_is_whole(trained: tuple[CompletedProcess[str], Path]) -> None:
    done, out = trained
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((out / "train.json").read_text())
    for name, digest in record["files"].items():
        assert sha256((out / name).read_bytes()).hexdigest() == digest
    assert {"config.yaml", "model.safetensors", "initial.safetensors", "tape.npz"} < set(
        record["files"]
    )
    steps = sorted(path.stem for path in (out / "checkpoints").glob("step-*"))
    assert steps == ["step-000000", "step-000004", "step-000008", "step-000010"]
    last = (out / "checkpoints" / "step-000010.safetensors").read_bytes()
    assert last == (out / "model.safetensors").read_bytes()
    with np.load(out / "canaries.npz", allow_pickle=False) as secret:
        assert secret["coins"].shape == (10,)
        assert len(json.loads(str(secret["facts"]))) == 10
    for picture in record["canaries"]:
        assert (out / picture["world_a"]).is_file()
    assert not list(out.rglob("*.tmp"))


def test_what_is_printed_is_in_the_record(trained: tuple[CompletedProcess[str], Path]) -> None:
    done, out = trained
    record = json.loads((out / "train.json").read_text())
    assert "patch substitution" in done.stdout
    assert f"mIoU {record['utility']['miou']:.3f}, without noise" in done.stdout
    assert f"cropaudit attack {out}" in done.stdout


def test_an_earlier_run_is_kept_unless_forced(
    cropaudit: Run, config: Path, trained: tuple[CompletedProcess[str], Path], tmp_path: Path
) -> None:
    _, out = trained
    before = (out / "model.safetensors").read_bytes()
    refused = cropaudit("train", config, "--out", out)
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    # Forced on a copy: the same seed gives the same weights, and old checkpoints are gone.
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(out), str(copy)], check=True)
    done = cropaudit("train", copy / "config.yaml", "--out", copy, "--force", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["weights_digest"] == sha256(before).hexdigest()
    assert not (copy / "checkpoints").exists()


def test_two_processes_train_one_model(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "two"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "cropaudit", "train", str(config), "--out", str(out)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("Claim:") == 1
    record = json.loads((out / "train.json").read_text())
    assert record["processes"] == 2


def test_an_interrupted_run_leaves_checkpoints_alone(
    cropaudit: Run, config: Path, tmp_path: Path
) -> None:
    script, out = Path(sys.executable).with_name("cropaudit"), tmp_path / "run"
    command = [str(script), "train", str(config), "--out", str(out), "--checkpoint-every", "1"]
    process = subprocess.Popen(
        [*command, "--set", "training.steps=3000"], stderr=subprocess.PIPE, text=True
    )
    first, limit = out / "checkpoints" / "step-000001.safetensors", time.monotonic() + 100
    while not first.exists() and time.monotonic() < limit:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 4, error
    assert "only checkpoints were written" in error
    assert first.is_file()
    assert not (out / "train.json").exists()
    done = cropaudit("train", config, "--out", out, "--force")
    assert done.returncode == 0, done.stderr
    assert not (out / "checkpoints").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["cityscapes-deeplabv3plus"], "--data DIR"),
        (["nope"], "camvid-pspnet"),
        (["quickstart", "--checkpoint-every", "0"], "checkpoint-every must be at least 1"),
    ],
)
def test_wrong_usage_is_one_line(options: list[str], words: str, tmp_path: Path) -> None:
    with chdir(tmp_path):
        done = CliRunner().invoke(app, ["train", *options])
    assert isinstance(done.exception, InputError)  # the entry point prints it and leaves with 2
    assert words in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not list(tmp_path.iterdir())
