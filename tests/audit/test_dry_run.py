"""Dry runs: what they say without data is what the data would give, and every preset has one."""

import json
from typing import Any

import pytest

from cropaudit.accounting.geometry import Size
from cropaudit.audit.config import load_config, preset_names
from cropaudit.audit.declared import check_folder, declare
from cropaudit.audit.dry_run import dry_run
from cropaudit.audit.step_cost import measure_step
from cropaudit.audit.subject import prepare_subject
from cropaudit.errors import InputError
from cropaudit.reports.dry_run_summary import dry_run_document

SMALL: dict[str, Any] = {
    "data.images": 12,
    "data.validation": 4,
    "data.size": "48x96",
    "crop.size": "32x32",
    "patch": "8x8",
    "training.model": "tiny-net",
    "training.batch": 8,
    "training.steps": 20,
    "game.canary_slots": 10,
    "game.probe_slots": 400,
}


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_dry_runs_without_its_data(name: str) -> None:
    few = {"game.probe_slots": 400, "two_world.models": 100}  # how many trials takes the time
    found = dry_run(load_config(name, few), attacks=True, measure=False)
    assert 0 < found.declared.claim.epsilon < found.bound.epsilon_without_crop
    assert {game.attack for game in found.games} == set(found.declared.config.game.attacks)
    assert found.cost.seconds is None
    json.dumps(dry_run_document(found), allow_nan=False)


@pytest.mark.parametrize(
    ("name", "epsilon"), [("cityscapes-deeplabv3plus", 10), ("a2d2-pspnet", 10)]
)
def test_the_paper_s_noise_is_for_its_epsilon(name: str, epsilon: float) -> None:
    """Rounded up to four digits, so that the claim is at most the target."""
    declared = declare(load_config(name, {}))
    assert 0.999 * epsilon < declared.claim.epsilon <= epsilon
    assert declared.records == {"cityscapes-deeplabv3plus": 2975, "a2d2-pspnet": 18557}[name]


@pytest.mark.parametrize("per_image", [1, 4])
def test_what_is_declared_of_scenes_is_what_comes(per_image: int) -> None:
    config = load_config("quickstart", {**SMALL, "canary.per_image": per_image})
    declared, subject = declare(config), prepare_subject(config)
    assert declared.exact
    assert declared.bound == subject.bound
    assert declared.records == subject.records
    assert declared.classes == len(subject.empty.classes)
    assert (declared.image,) == subject.empty.sizes()


def test_photographs_are_declared_as_reduced() -> None:
    declared = declare(load_config("camvid-pspnet", {}))
    assert declared.image == Size(160, 213)
    assert not declared.exact
    assert declared.records == 64  # real objects stand in the photographs themselves


def test_the_work_is_counted() -> None:
    config = load_config("whitebox-small", {"two_world.models": 20, "game.probe_slots": 400})
    work = {
        item.what: item.crops for item in dry_run(config, attacks=True, measure=False).cost.work
    }
    own = config.two_world
    looks = 2 * own.hits + own.misses
    assert work["private training"] == pytest.approx(60 * 8)
    assert work["two-world attack"] == pytest.approx(2 * 20 * 60 * (8 + looks / own.refresh))


def test_a_training_alone_has_no_games() -> None:
    config = load_config("quickstart", SMALL)
    found = dry_run(config, attacks=False, measure=False)
    assert found.games == ()
    assert [item.what for item in found.cost.work] == ["private training", "the same, no noise"]


def test_a_step_is_measured(one_thread: None) -> None:
    config = load_config("quickstart", SMALL)
    cost = measure_step(config.training, Size(32, 32), 5, seconds=2.0)
    assert not cost.scaled
    assert cost.crop_seconds > 0
    assert cost.step_seconds(8) > cost.step_seconds(1) > 0
    # The gradient of one crop is among what one crop's step holds.
    assert cost.crop_bytes is not None
    assert cost.crop_bytes >= cost.gradient_bytes(1) == 4 * cost.parameters


def test_a_large_crop_is_scaled(one_thread: None) -> None:
    config = load_config("quickstart", SMALL)
    cost = measure_step(config.training, Size(2048, 2048), 5, seconds=0.05)
    assert cost.scaled
    assert Size.parse(cost.crop).height < 2048
    assert cost.crop_bytes is None
    small = measure_step(config.training, Size(64, 64), 5, seconds=2.0)
    assert cost.crop_seconds > 10 * small.crop_seconds


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patch": "60x60"}, "patch must be at most the image 48x96"),
        ({"crop.size": "64x64"}, "crop"),
        ({"training.batch": 64}, "batch must be between 1 and the 22 records"),
        ({"data.kind": "mars"}, "data.kind must be one of"),
    ],
)
def test_what_does_not_fit_is_told_without_data(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dry_run(load_config("quickstart", {**SMALL, **changes}), attacks=True, measure=False)


def test_a_missing_folder_is_told_with_its_structure() -> None:
    check_folder(load_config("quickstart", {}))
    with pytest.raises(InputError, match=r"--data DIR.*leftImg8bit.*gtFine") as told:
        check_folder(load_config("cityscapes-deeplabv3plus", {}))
    assert "\n" not in str(told.value)
