"""``cropaudit estimate`` on scores that a user brings."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

Run = Callable[..., CompletedProcess[str]]


def write_csv(path: Path, scores: np.ndarray, member: np.ndarray) -> Path:
    rows = [f"{s!r},{int(m)}" for s, m in zip(scores.tolist(), member, strict=True)]
    path.write_text("score,member\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def gaussian(tmp_path: Path) -> Path:
    """Scores of a Gaussian mechanism with mu = 2: epsilon at 1e-5 is 10.3."""
    generator = np.random.default_rng(1)
    member = generator.random(4000) < 0.5
    return write_csv(tmp_path / "scores.csv", generator.normal(2.0 * member), member)


def test_csv_to_bounds(cropaudit: Run, gaussian: Path) -> None:
    done = cropaudit("estimate", gaussian, "--delta", 1e-5, "--confidence", 0.95, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    bounds = {item["estimator"]: item for item in found["bounds"]}
    assert 2.0 < bounds["clopper-pearson"]["epsilon"] < 10.3
    assert 1.0 < bounds["one-run"]["epsilon"] < 10.3
    assert {item["validity"] for item in found["bounds"]} == {"exact"}
    assert {item["confidence"] for item in found["bounds"]} == {0.95}
    assert found["skipped"] == ["mechanism-f-dp: needs --mechanism"]


def test_arrays_and_mechanism(cropaudit: Run, tmp_path: Path) -> None:
    """At q = rho = 1, sigma 1, one step: the Gaussian mechanism with mu = 2."""
    generator = np.random.default_rng(2)
    np.save(tmp_path / "m.npy", generator.normal(2.0, size=3000))
    np.save(tmp_path / "n.npy", generator.normal(0.0, size=3000))
    done = cropaudit(
        *("estimate", "--member", tmp_path / "m.npy", "--nonmember", tmp_path / "n.npy", "--json"),
        *("--mechanism", "fixed:noise=1,q=1,rho=1,steps=1", "--threshold", "1.0"),
    )
    assert done.returncode == 0, done.stderr
    bounds = {item["estimator"]: item for item in json.loads(done.stdout)["bounds"]}
    family = bounds["mechanism-f-dp"]
    assert family["validity"] == "model-based"
    assert 0.85 * 10.28 < family["epsilon"] < 10.3
    assert bounds["clopper-pearson"]["epsilon"] < family["epsilon"]


def test_nothing_leaks_from_noise(cropaudit: Run, tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    path = write_csv(
        tmp_path / "noise.csv", generator.normal(size=2000), generator.random(2000) < 0.5
    )
    found = json.loads(cropaudit("estimate", path, "--json").stdout)
    assert [item["epsilon"] for item in found["bounds"]] == [0.0, 0.0]


def test_constant_scores_give_zero(cropaudit: Run, tmp_path: Path) -> None:
    member = np.arange(200) % 2 == 0
    path = write_csv(tmp_path / "constant.csv", np.ones(200), member)
    found = json.loads(cropaudit("estimate", path, "--json").stdout)
    assert [item["epsilon"] for item in found["bounds"]] == [0.0, 0.0]
    assert found["auc"] == 0.5


def test_unfair_coins_skip_the_one_run_bound(cropaudit: Run, tmp_path: Path) -> None:
    member = np.arange(1000) < 100
    path = write_csv(tmp_path / "unfair.csv", member * 5.0, member)
    found = json.loads(cropaudit("estimate", path, "--json").stdout)
    assert [item["estimator"] for item in found["bounds"]] == ["clopper-pearson"]
    assert any("fair coins" in reason for reason in found["skipped"])


def test_table(cropaudit: Run, gaussian: Path) -> None:
    done = cropaudit("estimate", gaussian)
    assert done.returncode == 0
    assert "clopper-pearson" in done.stdout
    assert "assumes" in done.stdout


BAD_FILES = {
    "nan": ("score,member\n1.0,1\nnan,0\n", "line 3 must be free of NaN"),
    "text": ("score,member\n1.0,1\nhigh,0\n", "line 3 must be a number and 0 or 1"),
    "bit": ("score,member\n1.0,2\n", "line 2 must be a number and 0 or 1"),
    "columns": ("a,b\n1,2\n", "must have the columns score and member"),
    "empty": ("", "must have the columns score and member"),
    "one class": ("score,member\n1,1\n2,1\n", "nonmember scores must be a non-empty list"),
    "short": ("score,member\n1,1\n2,0\n", "at least 2 of each world"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_one_line_and_exit_2(cropaudit: Run, tmp_path: Path, name: str) -> None:
    text, message = BAD_FILES[name]
    path = tmp_path / "bad.csv"
    path.write_text(text)
    done = cropaudit("estimate", path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_pickles_are_refused(cropaudit: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "fine.npy", np.zeros(5))
    done = cropaudit(
        "estimate", "--member", tmp_path / "evil.npy", "--nonmember", tmp_path / "fine.npy"
    )
    assert done.returncode == 2
    assert "must be a .npy file of numbers" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--delta", "1.5"], "delta must be in [0, 1), got 1.5"),
        (["--confidence", "1"], "confidence must be in (0, 1), got 1.0"),
        (["--mechanism", "poisson:noise=1"], "mechanism must be SAMPLER:noise=S"),
        (["--mechanism", "poisson:noise=0,q=1,rho=1,steps=1"], "noise multiplier must be positive"),
        (["--threshold", "nan"], "threshold must be finite"),
    ],
)
def test_bad_options(cropaudit: Run, gaussian: Path, options: list[str], message: str) -> None:
    done = cropaudit("estimate", gaussian, *options)
    assert done.returncode == 2
    assert message in done.stderr


def test_missing_file_and_no_input(cropaudit: Run, tmp_path: Path) -> None:
    assert "must be an existing CSV file" in cropaudit("estimate", tmp_path / "no.csv").stderr
    done = cropaudit("estimate")
    assert done.returncode == 2
    assert "one CSV, or as --member and --nonmember together" in done.stderr
