"""`cropaudit certify` and `cropaudit selftest`."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from cropaudit.training.dpsgd import loop

CLAIM = "poisson:noise=1,q=0.1,rho=0.3,steps=100"
LONG = "poisson:noise=1,q=0.1,rho=0.3,steps=4000"  # as many steps as `logs` writes


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
def test_noise_that_is_not_what_limits_rest_on(cropaudit, tmp_path, spoil, words: str) -> None:
    """All of it has the claimed multiplier in the mean square, and would be certified by it."""
    np.save(tmp_path / "n.npy", spoil(np.random.default_rng(0).standard_normal((100, 64))))
    given = ("certify", "--mechanism", CLAIM, "--noise", tmp_path / "n.npy")
    done = cropaudit(*given)
    assert (done.returncode, done.stderr) == (1, "")
    assert f"NOT AS CLAIMED: noise is not {words}" in done.stdout
    document = json.loads(cropaudit(*given, "--json").stdout)
    assert words in [item["name"] for item in document["noise"] if item["refuted"]]
    assert sum(item["share"] for item in document["noise"]) <= 0.2 * 0.05 + 1e-12
    assert document["causes"] == [f"noise is not {words}"]
    if words == "constant over steps":
        assert document["epsilon_low"] < 97.1 < document["epsilon_high"]
        assert document["exceeded"]
    else:
        assert (document["stated"], document["epsilon_high"]) == (False, None)
        assert "Delivered epsilon: none can be stated of these logs" in done.stdout


def test_no_noise_at_all_has_no_end(cropaudit, tmp_path: Path) -> None:
    np.save(tmp_path / "n.npy", np.zeros((100, 64)))
    done = cropaudit("certify", "--mechanism", CLAIM, "--noise", tmp_path / "n.npy")
    assert (done.returncode, done.stderr) == (1, "")
    assert "Delivered epsilon: infinity to infinity at" in done.stdout


def test_logs_that_were_appended_to_are_refused(cropaudit, tmp_path: Path) -> None:
    steps, _ = logs(tmp_path, 0.3)
    head, *rows = steps.read_text(encoding="utf-8").splitlines()
    steps.write_text("\n".join([head, *rows * 3]), encoding="utf-8")
    done = cropaudit("certify", "--mechanism", CLAIM, "--inclusion", steps)
    assert (done.returncode, done.stdout) == (2, "")
    assert "must have each step once, got step 0 in lines 2 and 4002" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


TINY = {
    "name": "tiny",
    "seed": 3,
    "patch": "8x8",
    "data": {"images": 12, "validation": 2, "size": "32x48"},
    "crop": {"size": "24x24"},
    "training": {"model": "tiny-net", "batch": 8, "steps": 30, "max_grad_norm": 0.5, "twins": []},
    "game": {"canary_slots": 10},
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture(scope="module")
def run(cropaudit, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert cropaudit("train", config, "--out", out).returncode == 0
    return out


@pytest.mark.parametrize("again", [False, True])
def test_an_honest_run_is_certified_from_its_folder(cropaudit, run: Path, again: bool) -> None:
    """Seeded; over seeds a sound run is refuted with a chance of at most 5%."""
    done = cropaudit("certify", run, "--json", *(["--replay"] if again else []))
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["causes"] == []
    names = ["noise multiplier", "sampling rate", "inclusion probability"]
    assert [item["name"] for item in document["limits"]] == names
    assert document["assumed"] == []
    assert document["epsilon_low"] < document["claimed_epsilon"] < document["epsilon_high"]
    assert document["confidence"] == pytest.approx(0.95)
    source = "a replay of the run" if again else str(run / "noise.npy")
    assert document["logs"][0] == source


def test_a_run_of_half_the_noise_is_refuted(cropaudit, config, tmp_path, monkeypatch) -> None:
    """Its transcript says what it claims. 1,920 samples: missed with a chance below 1e-12."""
    honest = loop.private_step

    def halved(model, mode, spec, *given):
        half = dataclasses.replace(spec, noise_multiplier=spec.noise_multiplier / 2)
        return honest(model, mode, half, *given)

    with monkeypatch.context() as planted:
        planted.setattr(loop, "private_step", halved)
        assert cropaudit("train", config, "--out", tmp_path / "run").returncode == 0
    done = cropaudit("certify", tmp_path / "run")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NOT AS CLAIMED: noise multiplier" in done.stdout
    assert "Claim: The configured mechanism" in done.stdout
    refused = cropaudit("certify", tmp_path / "run", "--replay")
    assert refused.returncode == 2
    assert "replay must end at weights of digest" in refused.stderr


@pytest.mark.parametrize("name", ["noise.npy", "inclusion.csv", "tape.npz"])
def test_missing_and_changed_logs_are_named(cropaudit, run: Path, tmp_path, name: str) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    for words in ("a changed file", "no such file"):
        done = cropaudit("certify", folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{folder / name} must be as its" in done.stderr or f"with {name}" in done.stderr
        assert words in done.stderr or f"with {name}" in done.stderr
        (folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "run must be a run folder, unless --mechanism and logs are given, got none"),
        (("nowhere",), "run must be a folder of cropaudit train or of an audit"),
        (("nowhere", "--mechanism", CLAIM), "logs must be those of the run"),
        (("nowhere", "--noise", "n.npy"), "logs must be those of the run"),
        (("nowhere", "--confidence", "2"), "run must be"),
    ],
)
def test_wrong_usage_of_run_folders(cropaudit, tmp_path, options, words: str) -> None:
    done = cropaudit("certify", *options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len([line for line in done.stderr.splitlines() if not line.startswith("[")]) == 1


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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--games", 0), "games must be at least 1, got 0"),
        (("--trials", 0), "trials must be at least 20, got 0"),
        (("--seed", -1), "seed must be at least 0, got -1"),
    ],
)
def test_selftests_of_nothing(cropaudit, options: tuple[object, ...], words: str) -> None:
    done = cropaudit("selftest", "--fast", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == f"cropaudit: {words}"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "asked", [("frob",), ("audit",), ("schema", "x"), ("selftest", "--seed", "x"), ("report", "-q")]
)
def test_wrong_usage_is_told_in_one_line(cropaudit, asked: tuple[str, ...]) -> None:
    done = cropaudit(*asked)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("cropaudit: ")
    assert line.endswith("--help")
