"""``cropaudit bound`` through its real entry point."""

import json
import sys
import time
from collections.abc import Callable
from subprocess import CompletedProcess, run

import pytest

Run = Callable[..., CompletedProcess[str]]

STREETS = [
    *("--image", "1024x2048", "--crop", "505x505", "--patch", "10x10"),
    *("--batch", "200", "--records", "2975", "--delta", "3.3613e-4"),
]


@pytest.mark.parametrize(
    ("sampler", "expected"), [("fixed", 32.73), ("poisson", 7.45), ("shuffle", 87.3)]
)
def test_reference_values(cropaudit: Run, sampler: str, expected: float) -> None:
    done = cropaudit(
        "bound", *STREETS, "--sampler", sampler, "--epochs", 100, "--noise", 1.0, "--json"
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["epsilon"] == pytest.approx(expected, rel=5e-3)
    assert found["inclusion_probability"] == pytest.approx(0.329060, rel=3e-6)
    assert found["steps"] == 1500
    assert found["record_rate"] == pytest.approx(0.329060 * 200 / 2975, rel=1e-5)
    assert found["noise_multiplier"] == 1.0
    assert found["epsilon_without_crop"] > found["epsilon"]
    assert len(found["worst_position"]) == 2
    assert {item["name"] for item in found["shortcuts"]} >= {"add-remove", "replace-one"}
    assert all(item["why_invalid"] and item["epsilon"] > 0 for item in found["shortcuts"])


def test_steps_and_target_epsilon(cropaudit: Run) -> None:
    done = cropaudit("bound", *STREETS, "--steps", 1500, "--target-epsilon", 3, "--json")
    found = json.loads(done.stdout)
    assert found["sampler"] == "poisson"
    assert 2.98 <= found["epsilon"] <= 3.0
    assert found["noise_multiplier"] > 1


def test_table_says_the_same(cropaudit: Run) -> None:
    done = cropaudit("bound", *STREETS, "--steps", 1500, "--noise", 1)
    assert done.returncode == 0
    assert "7.45" in done.stdout
    assert "add-remove: 4.2" in done.stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--noise", "0"], "noise multiplier must be positive and finite, got 0.0"),
        (["--noise", "1", "--delta", "1"], "delta must be in (0, 1), got 1.0"),
        (["--noise", "1", "--crop", "2000"], "crop must be at most the padded image 1024x2048"),
        (["--noise", "1", "--patch", "2000"], "patch must be at most the image 1024x2048"),
        (["--noise", "1", "--batch", "3000"], "batch must be between 1 and the 2975 records"),
        (["--noise", "1", "--image", "big"], "image must be HxW or one number"),
        (["--noise", "1", "--target-epsilon", "2"], "must be given, and not both"),
        (["--noise", "1", "--padding", "-1"], "padding must be at least 0, got -1"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(cropaudit: Run, changes: list[str], message: str) -> None:
    done = cropaudit("bound", *STREETS, "--steps", 1500, *changes)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_help_and_version(cropaudit: Run) -> None:
    assert "bound" in cropaudit("--help").stdout
    assert cropaudit("--version").stdout.startswith("cropaudit 0.")
    assert cropaudit().returncode == 2


def test_python_m_works() -> None:
    done = run(
        [sys.executable, "-m", "cropaudit", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("cropaudit ")


def test_fast_commands_stay_fast(cropaudit: Run) -> None:
    """Goals: help under 0.7 s, bound under 2 s; thrice that here, as a busy machine may be slow."""
    start = time.perf_counter()
    cropaudit("--help")
    assert time.perf_counter() - start < 2.1
    start = time.perf_counter()
    cropaudit("bound", *STREETS, "--steps", 1500, "--noise", 1)
    assert time.perf_counter() - start < 6


@pytest.mark.parametrize("module", ["cropaudit.cli", "cropaudit.accounting.bound"])
def test_torch_is_not_imported(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0


def test_estimators_do_without_torch() -> None:
    code = "import sys, cropaudit.audit.score_files; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
