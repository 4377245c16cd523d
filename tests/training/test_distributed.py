"""Two processes with gloo train the model that one process trains."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cropaudit.accounting.geometry import Crop, Size
from cropaudit.errors import InputError
from cropaudit.training.checkpoints import Checkpoints
from cropaudit.training.data import SegmentationData
from cropaudit.training.distributed import World, current_world, distributed_context
from cropaudit.training.dpsgd import DpSgdSpec, StepView, train
from cropaudit.training.samplers import FixedSize, Poisson

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SPEC = DpSgdSpec(
    model="small-unet",
    crop=Crop(Size(16, 16)),
    sampling=FixedSize(5),
    steps=3,
    noise_multiplier=1.0,
    max_grad_norm=0.5,
    learning_rate=0.2,
    momentum=0.5,
    seed=4,
)
RUNS = {
    "hooks": SPEC,
    "parts": dataclasses.replace(SPEC, physical_batch=2, crops_per_image=2),
    "ghost": dataclasses.replace(SPEC, grad_sample_mode="ghost"),
    "ew": dataclasses.replace(SPEC, grad_sample_mode="ew"),
    # Mostly empty, or with a share of nothing for one of the processes.
    "empty": dataclasses.replace(SPEC, sampling=Poisson(0.1), steps=6),
}


def images() -> SegmentationData:
    stream = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (7, 3, 20, 20), generator=stream, dtype=torch.uint8)
    masks = torch.randint(2, (7, 20, 20), generator=stream, dtype=torch.uint8)
    return SegmentationData(tuple(pixels), tuple(masks), ("a", "b"), tuple("abcdefg"), "test")


def outcome(spec: DpSgdSpec, checkpoints: Checkpoints | None = None) -> dict[str, np.ndarray]:
    sums: list[np.ndarray] = []

    def observe(view: StepView) -> None:
        sums.append(view.noisy_sum.numpy().copy())

    trained = train(images(), spec, device=CPU, observe=observe, checkpoints=checkpoints)
    weights = [p.detach().flatten() for p in trained.model.parameters()]
    return {
        "sums": np.stack(sums),
        "weights": torch.cat(weights).numpy(),
        "losses": np.array(trained.losses),
        "indices": trained.tape.indices,
        "windows": trained.tape.windows,
    }


def main(folder: Path) -> None:
    """What each of the processes does."""
    torch.set_num_threads(1)
    with distributed_context(f"file://{folder}/meeting") as world:
        assert current_world() == world
        saved = Checkpoints(folder / f"saved-{world.rank}", 2)
        for name, spec in RUNS.items():
            found = outcome(spec, saved if name == "hooks" else None)
            np.savez(folder / f"{name}-{world.rank}.npz", **found)
    assert current_world() == World()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs two processes and returns where their results are."""
    made = tmp_path_factory.mktemp("two")
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(made)],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, words = process.communicate(timeout=120)
        assert process.returncode == 0, words[-3000:]
    return made


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_what_one_does(folder: Path, name: str) -> None:
    with np.load(folder / f"{name}-0.npz") as first, np.load(folder / f"{name}-1.npz") as second:
        one, two = dict(first), dict(second)
    for key in one:
        np.testing.assert_array_equal(one[key], two[key])  # equal in both, to the last bit
    alone = outcome(RUNS[name])
    for key in ("indices", "windows"):
        np.testing.assert_array_equal(one[key], alone[key])
    # The noise is that of one process: it is there once, at its full deviation.
    for key in ("sums", "weights", "losses"):
        np.testing.assert_allclose(one[key], alone[key], rtol=1e-5, atol=1e-5)


def test_one_process_saves_the_weights(folder: Path) -> None:
    names = sorted(path.name for path in (folder / "saved-0").glob("step-*"))
    assert names == [f"step-{step:06d}.safetensors" for step in (0, 2, 3)]
    assert not (folder / "saved-1").exists()


def test_without_the_variables_of_torchrun_there_is_one_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed_context() as world:
        assert world == current_world() == World(0, 1)
        assert world.leads


@pytest.mark.parametrize(
    ("rank", "size", "message"),
    [
        ("2", "2", "RANK must be from 0 to 1, got 2"),
        ("0", "0", "WORLD_SIZE must be at least 1, got 0"),
        ("x", "2", "RANK must be a whole number, at least 0, got x"),
    ],
)
def test_illegal_variables_are_refused(
    monkeypatch: pytest.MonkeyPatch, rank: str, size: str, message: str
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(InputError, match=message), distributed_context():
        pass


if __name__ == "__main__":
    main(Path(sys.argv[1]))
