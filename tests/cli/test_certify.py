"""`cropaudit certify` and `cropaudit selftest` through the real entry point."""

import json
from pathlib import Path

import numpy as np
import pytest

CLAIM = "poisson:noise=1,q=0.1,rho=0.3,steps=100"


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
    done = cropaudit("certify", "--mechanism", CLAIM, *given)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Delivered epsilon:" in done.stdout
    assert "certifies parameters, not the pipeline" in done.stdout
    document = json.loads(cropaudit("certify", "--mechanism", CLAIM, *given, "--json").stdout)
    assert document["epsilon_low"] < document["claimed_epsilon"] < document["epsilon_high"]
    assert document["causes"] == []


def test_a_wrong_parameter_is_named(cropaudit, tmp_path: Path) -> None:
    steps, noise = logs(tmp_path, 0.5, sigma=0.8)
    done = cropaudit("certify", "--mechanism", CLAIM, "--inclusion", steps)
    assert done.returncode == 1
    assert "NOT AS CLAIMED: inclusion probability" in done.stdout
    done = cropaudit(
        *("certify", "--mechanism", CLAIM, "--noise", noise, "--max-grad-norm", 2, "--json")
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


def test_selftest_prints_observed_beside_nominal(cropaudit) -> None:
    done = cropaudit("selftest", "--fast", "--games", 3, "--trials", 100)
    assert (done.returncode, done.stderr) == (0, "")
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
