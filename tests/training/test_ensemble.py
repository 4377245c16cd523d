"""Ensembles against single runs: the same draws, the same sums, the same weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.errors import InputError
from cropaudit.training.canaries import fill_slots, plant
from cropaudit.training.canaries.designs import Opposed
from cropaudit.training.data import SegmentationData
from cropaudit.training.dpsgd import DpSgdSpec, StepView, train
from cropaudit.training.ensemble import EnsembleStep, Members, train_ensemble
from cropaudit.training.foreground import as_foreground
from cropaudit.training.models import WeightsFile, build_model
from cropaudit.training.samplers import FixedSize, Poisson, Shuffle
from cropaudit.training.scenes import street_scenes
from cropaudit.training.schedules import Poly
from cropaudit.training.worlds import members_of_coins

pytestmark = pytest.mark.usefixtures("one_thread")

RECORDS, STEPS = 6, 4


@pytest.fixture(scope="module")
def pool() -> SegmentationData:
    return street_scenes(RECORDS + 2, Size(24, 40), 3)


def members(pool: SegmentationData, count: int = 4) -> Members:
    variants = np.tile(np.arange(RECORDS), (count, 1))
    variants[::2, 1] = RECORDS
    variants[1::2, 1] = RECORDS + 1
    return Members(pool, variants, [100 + number for number in range(count)])


def spec(**changes: object) -> DpSgdSpec:
    given: dict[str, object] = {
        "model": "tiny-net",
        "crop": Crop(Size(16, 16)),
        "sampling": Poisson(0.4),
        "steps": STEPS,
        "noise_multiplier": 0.8,
        "max_grad_norm": 0.3,
        "learning_rate": 0.5,
        **changes,
    }
    return DpSgdSpec(**given)  # type: ignore[arg-type]


def single(pool: SegmentationData, group: Members, number: int, run: DpSgdSpec) -> list[StepView]:
    seen: list[StepView] = []
    data = pool.take(group.variants[number].tolist())
    train(data, replace(run, seed=group.seeds[number]), observe=seen.append)
    return seen


@pytest.mark.numeric
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sampling": FixedSize(3), "momentum": 0.5, "weight_decay": 0.01},
        {"sampling": Shuffle(4), "schedule": Poly(warmup=1)},
        {"crop": Crop(Size(16, 16), 4, "reflect", horizontal_flip=0.5), "noise_multiplier": 0.0},
        {"crop": Crop(Size(28, 28), pad_if_needed=True), "sampling": Poisson(0.1)},
    ],
    ids=["poisson", "fixed, momentum, decay", "shuffle, schedule", "padding, flips", "empty"],
)
def test_each_member_is_the_single_run_of_its_seed(
    pool: SegmentationData, changes: dict[str, object]
) -> None:
    """Batches, windows and noise are equal bit by bit; sums up to the rounding of float32."""
    run, group = spec(**changes), members(pool)
    steps: list[EnsembleStep] = []
    kept: list[torch.Tensor] = []

    def keep(view: EnsembleStep) -> None:
        steps.append(view)
        kept.append(view.parameters.clone())

    train_ensemble(group, run, observe=keep)
    for number in range(len(group)):
        for view, weights, wanted in zip(
            steps, kept, single(pool, group, number, run), strict=True
        ):
            mine = view.member == number
            assert tuple(view.record[mine].tolist()) == wanted.indices
            windows = [w for w, own in zip(view.windows, mine.tolist(), strict=True) if own]
            assert [(w.top, w.left, w.flipped_rows, w.flipped_columns) for w in windows] == [
                (w.top, w.left, w.flipped_rows, w.flipped_columns) for w in wanted.windows
            ]
            assert torch.allclose(view.noisy_sum[number], wanted.noisy_sum, atol=2e-5)
            assert torch.isfinite(weights).all()


def test_final_weights_are_those_of_the_single_run(pool: SegmentationData) -> None:
    run, group = spec(), members(pool)
    done = train_ensemble(group, run)
    for number in range(len(group)):
        data = pool.take(group.variants[number].tolist())
        alone = train(data, replace(run, seed=group.seeds[number]))
        ours = done.model(number)
        assert not ours.training
        for one, other in zip(ours.parameters(), alone.model.parameters(), strict=True):
            assert torch.allclose(one, other, atol=1e-5)
        start = torch.cat([value.flatten() for value in alone.initial.values()])
        assert torch.equal(done.initial[number], start)


def test_members_begin_at_the_weights_of_a_file(pool: SegmentationData, tmp_path: Path) -> None:
    file = tmp_path / "start.safetensors"
    state = build_model("tiny-net", len(pool.classes), 77).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, file)
    done = train_ensemble(members(pool, 2), spec(steps=1, weights=WeightsFile(file)))
    wanted = torch.cat([value.flatten() for value in state.values()])
    assert torch.equal(done.initial, wanted.expand(2, -1))


@pytest.mark.numeric
def test_members_do_not_touch_each_other(pool: SegmentationData) -> None:
    group = members(pool, 5)
    whole = train_ensemble(group, spec()).parameters
    part = train_ensemble(group.part(slice(2, 4)), spec()).parameters
    assert torch.allclose(whole[2:4], part, atol=1e-6)


def test_given_weights_are_where_all_begin(pool: SegmentationData) -> None:
    group = members(pool, 2)
    row = train_ensemble(group, spec(steps=1)).initial[0]
    begun = train_ensemble(group, spec(steps=1), initial=row).initial
    assert torch.equal(begun, row.expand(2, -1))


@pytest.mark.numeric
def test_clipped_rows_and_noise_make_the_sum(pool: SegmentationData) -> None:
    seen: list[EnsembleStep] = []
    train_ensemble(members(pool), spec(noise_multiplier=0.0), observe=seen.append)
    for view in seen:
        total = torch.zeros_like(view.noisy_sum).index_add_(0, view.member, view.clipped)
        assert torch.allclose(total, view.noisy_sum, atol=1e-6)
        assert bool((view.clipped.norm(dim=1) <= 0.3 * (1 + 1e-6)).all())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crops_per_image": 2}, "crops_per_image must be 1 in an ensemble, got 2"),
        ({"precision": "bf16"}, "precision must be float32 in an ensemble, got bf16"),
        ({"crop": Crop(Size(30, 30))}, "crop"),
    ],
)
def test_runs_that_are_not_vectorised_are_refused(
    pool: SegmentationData, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        train_ensemble(members(pool), spec(**changes))


def test_members_are_checked(pool: SegmentationData) -> None:
    with pytest.raises(InputError, match="variants must be indices below the pool's 8 images"):
        Members(pool, np.array([[0, 8]]), [1])
    with pytest.raises(InputError, match="seeds must be 1, one a member, got 2"):
        Members(pool, np.array([[0, 1]]), [1, 2])
    with pytest.raises(InputError, match="variants must be of shape"):
        Members(pool, np.array([0, 1]), [1])


def test_coins_give_each_member_its_own_world() -> None:
    """Every member's data set equals the one that its coins fill, shared images included."""
    data = street_scenes(3, Size(24, 40), 0)
    patch = Rectangle(Size(5, 5))
    empty, slots = plant(data, Opposed(), 4, Crop(Size(16, 16)), patch, 0, per_image=2)
    coins = np.random.default_rng(1).random((6, 4)) < 0.5
    group = members_of_coins(empty, slots, coins, list(range(6)))
    for number, row in enumerate(coins):
        ours = group.pool.take(group.variants[number].tolist())
        wanted = fill_slots(empty, slots, row)
        pairs = zip(ours.images + ours.masks, wanted.images + wanted.masks, strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
        assert ours.names == wanted.names
    with pytest.raises(InputError, match="coins must be of shape"):
        members_of_coins(empty, slots, coins[:, :2], list(range(6)))
    with pytest.raises(InputError, match="seeds must be 6, one a member, got 5"):
        members_of_coins(empty, slots, coins, list(range(5)))


def test_foreground_against_the_rest() -> None:
    data = street_scenes(2, Size(48, 96), 1)
    merged = as_foreground(data, ["Road", "sky"])
    chosen = [data.classes.index("road"), data.classes.index("sky")]
    assert merged.classes == ("rest", "foreground")
    for mask, old in zip(merged.masks, data.masks, strict=True):
        assert torch.equal(mask == 1, torch.isin(old, torch.tensor(chosen)))
        assert torch.equal(mask == 255, old == 255)
    with pytest.raises(InputError, match=r"foreground must be among sky, .* got tram"):
        as_foreground(data, ["tram"])
    with pytest.raises(InputError, match="some classes but not all"):
        as_foreground(data, data.classes)
