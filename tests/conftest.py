"""Fixtures that several test folders share: where the real photographs are."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch is imported: threads that spin while they wait slow it tenfold on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _real_data(name: str) -> Path:
    """Returns a folder of photographs, or skips: CROPAUDIT_DATA, else shared/data beside us."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("CROPAUDIT_DATA", beside)) / name
    if not root.is_dir():
        pytest.skip(
            f"REAL PHOTOGRAPHS ABSENT: no folder {root}; set CROPAUDIT_DATA to their parent"
        )
    return root


@pytest.fixture(scope="session")
def camvid_root() -> Path:
    return _real_data("camvid-subset")


@pytest.fixture(scope="session")
def coco_root() -> Path:
    return _real_data("coco-cc-subset")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Keeps torch to one thread: beside a busy process two of them take ten times as long.

    Where OMP_NUM_THREADS says how many, it is heeded: then rounding is what is tested.
    """
    import torch

    if os.environ.get("OMP_NUM_THREADS"):
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
