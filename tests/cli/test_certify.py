"""`cropaudit certify` and `cropaudit selftest` through the real entry point."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from cropaudit.cli import main

CLAIM = "poisson:noise=1,q=0.1,rho=0.3,steps=100"
LONG = "poisson:noise=1,q=0.1,rho=0.3,steps=4000"  # as many steps as `logs` writes


@pytest.fixture
def in_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., CompletedProcess[str]]:
    """Runs ``cropaudit ARGS`` in this process: no second start of Python."""

    def run(*args: object) -> CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["cropaudit", *map(str, args)])
        with pytest.raises(SystemExit) as left:
            main()
        return CompletedProcess(sys.argv, int(str(left.value.code)), *capsys.readouterr())

    return run


def logs(folder: Path, rho: float, sigma: float = 1.0) -> tuple[Path, Path]:
    """Writes the logs of 4,000 steps."""
    rng = np.random.default_rng(0)
    included = rng.random(4000) < 0.1
    met = included & (rng.random(4000) < rho)
    steps, noise = folder / "steps.csv", folder / "noise.npy"
    rows = [f"{i},{int(a)},{int(b)}" for i, (a, b) in enumerate(zip(included, met, strict=True))]
    steps.write_text("\n".join(["step,included,met", *rows, ""]), encoding="utf-8")
    np.save(noise, 2 * sigma * rng.standard_normal((200, 20)))
    return steps, noise


def test_honest_logs_are_certified(cropaudit, tmp_path: Path) -> None:
    """Seeded; the logs of an honest run are refused with a chance of 5%, these are not."""
    steps, noise = logs(tmp_path, 0.3)
    given = ("--inclusion", steps, "--noise", noise, "--max-grad-norm", 2)
    done = cropaudit("certify", "--mechanism", LONG, *given)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Delivered epsilon:" in done.stdout
    assert "certifies parameters, not the pipeline" in done.stdout
    document = json.loads(cropaudit("certify", "--mechanism", LONG, *given, "--json").stdout)
    assert document["epsilon_low"] < document["claimed_epsilon"] < document["epsilon_high"]
    assert document["causes"] == []


def test_a_wrong_parameter_is_named(cropaudit, tmp_path: Path) -> None:
    steps, noise = logs(tmp_path, 0.5, sigma=0.8)
    done = cropaudit("certify", "--mechanism", LONG, "--inclusion", steps)
    assert done.returncode == 1
    assert "NOT AS CLAIMED: inclusion probability" in done.stdout
    done = cropaudit(
        *("certify", "--mechanism", LONG, "--noise", noise, "--max-grad-norm", 2, "--json")
    )
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["causes"] == ["noise multiplier"]
    assert document["exceeded"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "logs must be given as --noise, --inclusion, or both, got neither"),
        (("--inclusion", "none.csv"), "must be an existing CSV file"),
        (("--noise", "none.npy"), "must be an existing .npy file"),
    ],
)
def test_bad_logs_are_refused(cropaudit, arguments: tuple[str, ...], words: str) -> None:
    done = cropaudit("certify", "--mechanism", CLAIM, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda x: x * np.where(np.arange(100) < 50, 0.2, 1.4)[:, None], "constant over steps"),
        (lambda x: 8 * x * (np.arange(64) == 5), "isotropic"),
        (lambda x: np.hstack([x[:, :32], x[:, :32]]), "fresh"),
        (lambda x: np.sign(x) * x**2 / 3**0.5, "normal"),
    ],
    ids=["steps", "direction", "copies", "law"],
)
def test_noise_that_is_not_what_limits_rest_on(in_process, tmp_path, spoil, words: str) -> None:
    """All of it has the claimed multiplier in the mean square, and would be certified by it."""
    np.save(tmp_path / "n.npy", spoil(np.random.default_rng(0).standard_normal((100, 64))))
    given = ("certify", "--mechanism", CLAIM, "--noise", tmp_path / "n.npy")
    done = in_process(*given)
    assert (done.returncode, done.stderr) == (1, "")
    assert f"NOT AS CLAIMED: noise is not {words}" in done.stdout
    document = json.loads(in_process(*given, "--json").stdout)
    assert words in [item["name"] for item in document["noise"] if item["refuted"]]
    assert sum(item["share"] for item in document["noise"]) <= 0.2 * 0.05 + 1e-12
    assert document["causes"] == [f"noise is not {words}"]
    if words == "constant over steps":
        assert document["epsilon_low"] < 97.1 < document["epsilon_high"]
        assert document["exceeded"]
    else:
        assert (document["stated"], document["epsilon_high"]) == (False, None)
        assert "Delivered epsilon: none can be stated of these logs" in done.stdout


def test_no_noise_at_all_has_no_end(in_process, tmp_path: Path) -> None:
    np.save(tmp_path / "n.npy", np.zeros((100, 64)))
    done = in_process("certify", "--mechanism", CLAIM, "--noise", tmp_path / "n.npy")
    assert (done.returncode, done.stderr) == (1, "")
    assert "Delivered epsilon: infinity to infinity at" in done.stdout


def test_logs_that_were_appended_to_are_refused(in_process, tmp_path: Path) -> None:
    steps, _ = logs(tmp_path, 0.3)
    head, *rows = steps.read_text(encoding="utf-8").splitlines()
    steps.write_text("\n".join([head, *rows * 3]), encoding="utf-8")
    done = in_process("certify", "--mechanism", CLAIM, "--inclusion", steps)
    assert (done.returncode, done.stdout) == (2, "")
    assert "must have each step once, got step 0 in lines 2 and 4002" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_selftest_prints_observed_beside_nominal(cropaudit) -> None:
    done = cropaudit("selftest", "--fast", "--games", 3, "--trials", 100)
    assert done.returncode == 0
    assert all(line.startswith("[") for line in done.stderr.splitlines())  # progress
    assert "randomised response, independent trials: true epsilon 0" in done.stdout
    assert "one-run-order-statistics" in done.stdout
    assert "Every estimator keeps its promise." in done.stdout
    document = json.loads(
        cropaudit("selftest", "--fast", "--games", 2, "--trials", 60, "--json").stdout
    )
    assert document["holds"]
    assert {row["games"] for row in document["rows"]} == {2}


def test_selftest_refuses_too_few_trials(cropaudit) -> None:
    done = cropaudit("selftest", "--trials", 5, "--games", 1)
    assert done.returncode == 2
    assert "trials must be at least 20, got 5" in done.stderr
