"""The numeric tests hold however a processor rounds: they run again under other settings, in small.

Each pair of settings of MKL's code path, ATen's vectors and OpenMP's threads is met once in four
runs. What is unset takes the best that the processor has, as in all other tests.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ("MKL_CBWR", "ATEN_CPU_CAPABILITY", "OMP_NUM_THREADS")
LEAST = 50  # of the tests that bear the mark: what is not collected is not passed


@pytest.mark.parametrize(
    "values",
    [
        ("COMPATIBLE", "default", "1"),
        ("COMPATIBLE", None, "2"),
        ("AVX2", "default", "2"),
        ("AVX2", None, "1"),
    ],
    ids=lambda values: "-".join(value or "native" for value in values),
)
def test_numeric_tests_hold_under_other_roundings(values: tuple[str | None, ...]) -> None:
    chosen = {k: v for k, v in zip(SETTINGS, values, strict=True) if v is not None}
    rest = {
        name: value
        for name, value in os.environ.items()
        if name not in SETTINGS and not name.startswith("PYTEST_")
    }
    options = ["-q", "-m", "numeric", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += ["-o", "addopts=--import-mode=importlib --strict-markers"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "tests/attacks", "tests/training"],
        cwd=ROOT,
        env={**rest, **chosen},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= LEAST, done.stdout[-500:]
