"""Training that diverges says so, with its step, its run and what was kept of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cropaudit.accounting.geometry import Crop, Size
from cropaudit.attacks.black_box.references import train_references, train_targets
from cropaudit.errors import InputError
from cropaudit.training.checkpoints import Checkpoints, load_checkpoint
from cropaudit.training.data import SegmentationData
from cropaudit.training.divergence import Diverged, all_finite, named_run
from cropaudit.training.dpsgd import DpSgdSpec, train
from cropaudit.training.ensemble import Members, train_ensemble
from cropaudit.training.models import build_model
from cropaudit.training.run_setup import private_step
from cropaudit.training.samplers import FullBatch, Poisson
from cropaudit.training.stacked import StackedModels
from cropaudit.training.twins import train_twins

pytestmark = pytest.mark.usefixtures("one_thread")

CROP = Crop(Size(16, 18))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data() -> SegmentationData:
    stream = torch.Generator().manual_seed(3)
    return SegmentationData(
        tuple(torch.randint(256, (3, 20, 22), generator=stream).byte() for _ in range(4)),
        tuple(torch.randint(3, (20, 22), generator=stream).byte() for _ in range(4)),
        ("sky", "road", "car"),
        tuple(f"image {i}" for i in range(4)),
        "test",
    )


def spec(rate: float = 0.1, steps: int = 5, **changes) -> DpSgdSpec:
    values = {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "seed": 1, **changes}
    return DpSgdSpec(
        model="tiny-net",
        crop=CROP,
        sampling=FullBatch(),
        steps=steps,
        learning_rate=rate,
        **values,
    )


@pytest.mark.parametrize("rate", [1e30, 1e38])
@pytest.mark.parametrize("watched", [True, False])
def test_a_run_that_diverges_names_its_step(data, rate, watched) -> None:
    seen = []

    def observe(view) -> None:
        seen.append(bool(torch.isfinite(view.noisy_sum).all()))

    with pytest.raises(Diverged, match="must be small enough to train, got 1e") as caught:
        train(data, spec(rate), device=CPU, observe=observe if watched else None)
    assert f"training diverged at step {caught.value.step + 1} of 5, where " in str(caught.value)
    assert str(caught.value).endswith(" not finite; nothing of it was kept")
    assert "\n" not in str(caught.value)
    # No observer is ever shown what is not finite.
    assert all(seen)
    if watched:
        assert len(seen) in (caught.value.step, caught.value.step + 1)


def test_a_last_step_that_is_too_long_is_seen_by_the_models_answers(data) -> None:
    """One update: the weights are finite, and nothing that they compute is."""
    with pytest.raises(Diverged, match=r"step 1 of 1, where the trained model's answers are not"):
        train(data, spec(1e37, steps=1), device=CPU)


def test_a_model_that_answers_nan_diverges_at_once(data, monkeypatch) -> None:
    """Whatever the rate: weights that overflow are enough."""

    def poisoned(model, *rest):
        with torch.no_grad():
            next(model.parameters()).fill_(float("inf"))
        return private_step(model, *rest)

    monkeypatch.setattr("cropaudit.training.dpsgd.private_step", poisoned)
    with pytest.raises(Diverged, match="diverged at step 1 of 5"):
        train(data, spec(), device=CPU)


def test_what_was_kept_is_named_and_can_be_read(data, tmp_path) -> None:
    with pytest.raises(Diverged, match="the last weights kept are ") as caught:
        train(data, spec(1e30), device=CPU, checkpoints=Checkpoints(tmp_path, 1))
    last = tmp_path / f"step-{caught.value.step:06d}.safetensors"
    assert str(last) in str(caught.value)
    assert not (tmp_path / f"step-{caught.value.step + 1:06d}.safetensors").exists()
    assert all_finite(list(load_checkpoint(last).values()))


def test_sound_runs_are_left_alone(data) -> None:
    for rate in (1e-30, 0.1, 10.0):
        trained = train(data, spec(rate), device=CPU)
        assert np.isfinite(trained.losses).all()
    # Batches of none have no loss, and that is no divergence.
    empty = replace(spec(noise_multiplier=0.0), sampling=Poisson(1e-9))
    assert train(data, empty, device=CPU).steps == 5


def members(data: SegmentationData, count: int, first: int = 0) -> Members:
    variants = np.tile(np.arange(len(data)), (count, 1))
    return Members(data, variants, list(range(count)), first)


def test_the_members_that_diverge_are_named(data) -> None:
    """Only two of five start at weights that overflow."""
    models = StackedModels(build_model("tiny-net", 3, 0))
    start = torch.stack([models.flatten(models.skeleton) for _ in range(5)])
    start[[1, 3]] = 1e38
    with pytest.raises(Diverged, match=r"training of runs 2, 4 diverged at step 1 of 5"):
        train_ensemble(members(data, 5), spec(), device=CPU, initial=start)
    with pytest.raises(Diverged, match=r"training of runs 102, 104 diverged at step 1 of 5"):
        train_ensemble(members(data, 5, first=100), spec(), device=CPU, initial=start)
    part = members(data, 5, first=100).part(slice(3, 5))
    assert (part.first, len(part)) == (103, 2)
    with pytest.raises(Diverged, match=r"training of run 104 diverged"):
        train_ensemble(part, spec(), device=CPU, initial=start[3:])


@pytest.mark.parametrize("rate", [1e30, 1e37])
def test_an_ensemble_that_diverges_names_its_step_and_observers_see_numbers(data, rate) -> None:
    seen = []
    with pytest.raises(Diverged, match=r"runs 1, 2, 3 and 1 more diverged at step \d of 5"):
        train_ensemble(
            members(data, 4),
            spec(rate),
            device=CPU,
            observe=lambda view: seen.append(bool(torch.isfinite(view.noisy_sum).all())),
        )
    assert all(seen)


def test_each_game_and_twin_says_which_training_it_was(data) -> None:
    with pytest.raises(Diverged, match=r"training of runs? 1.* \(reference models\) diverged"):
        train_references(data, [], spec(1e30), 4, 0, device=CPU)
    with pytest.raises(Diverged, match=r"training of runs? 1.* \(target models\) diverged"):
        train_targets(data, [], spec(1e30), 4, 0, device=CPU)
    with pytest.raises(Diverged, match=r"training \(twin of noise multiplier 0\) diverged"):
        train_twins(data, spec(1e30), data, device=CPU)
    with (
        pytest.raises(Diverged, match=r"training \(outer\) diverged at step 2 of 3"),
        named_run("outer"),
    ):
        raise Diverged("the loss is", 1, 3, rate=1.0, clip=1.0)


def test_it_is_an_error_of_the_input() -> None:
    """So that every command leaves with exit code 2 and one line."""
    assert issubclass(Diverged, InputError)
