"""Answers: what is solved for meets its target and the next does not; profiles, maps, objects."""

import numpy as np
import pytest

from cropaudit.accounting.accountant import bracket, epsilon_at
from cropaudit.bounds.answers import answer, objects_answer, place_map, profiles
from cropaudit.bounds.requests import BoundRequest, load_request
from cropaudit.errors import InputError


def request(**changes: object) -> BoundRequest:
    base = {"image": "64", "crop": "24", "patch": "4", "batch": 10, "records": 100, "epochs": 20}
    given = {**base, "noise": 1.0, "delta": 1e-5, **changes}
    return load_request(None, {key: value for key, value in given.items() if value is not None})


def upper(**changes: object) -> float:
    return answer(request(**changes)).bound.epsilon


def test_solves_for_noise() -> None:
    found = answer(request(noise=None, target_epsilon=3.0))
    assert found.solved.startswith("noise multiplier")
    assert 2.99 < found.bound.epsilon <= 3.0


@pytest.mark.parametrize("sampler", ["poisson", "fixed", "shuffle", "cyclic"])
def test_solves_for_crop(sampler: str) -> None:
    target = upper(sampler=sampler, crop="30") * 1.01
    found = answer(request(sampler=sampler, crop=None, target_epsilon=target))
    side = int(found.solved.split()[1].split("x")[0])
    assert side >= 30
    assert upper(sampler=sampler, crop=str(side)) <= target
    assert upper(sampler=sampler, crop=str(side + 1)) > target


@pytest.mark.parametrize("sampler", ["poisson", "fixed"])
def test_solves_for_batch(sampler: str) -> None:
    changes = {"sampler": sampler, "epochs": None, "steps": 100}
    target = upper(**changes, batch=17) * 1.001
    found = answer(request(**changes, batch=None, target_epsilon=target))
    batch = int(found.solved.split()[1])
    assert upper(**changes, batch=batch) <= target < upper(**changes, batch=batch + 1)


@pytest.mark.parametrize("sampler", ["poisson", "fixed", "shuffle"])
def test_solves_for_steps(sampler: str) -> None:
    target = upper(sampler=sampler, epochs=None, steps=137)
    found = answer(request(sampler=sampler, epochs=None, target_epsilon=target))
    steps = int(found.solved.split()[1])
    assert steps >= 137
    assert upper(sampler=sampler, epochs=None, steps=steps) <= target * (1 + 1e-5)
    assert upper(sampler=sampler, epochs=None, steps=steps + 1) > target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise": None}, "noise must be given, or a target epsilon to solve for it"),
        ({"target_epsilon": 1.0}, "must be the only one left out, got none"),
        ({"noise": None, "crop": None, "target_epsilon": 1.0}, "left out, got noise, crop"),
        ({"crop": None, "target_epsilon": 1e-9}, "at least that of a crop of 1x1, got 1e-09"),
        ({"batch": None, "target_epsilon": 1e-9}, "at least that of a batch of 1, got 1e-09"),
        ({"epochs": None, "target_epsilon": 1e-9}, "at least that of one step, got 1e-09"),
        ({"noise": None, "target_epsilon": -1.0}, "target epsilon must be positive"),
        ({"group": 200}, "group must be between 1 and the 100 records, got 200"),
        ({"phases": [{"steps": 5}], "target_epsilon": 1.0}, "left out where phases are given"),
        ({"phases": [{"stepz": 5}]}, "stepz must be a known key"),
    ],
)
def test_what_cannot_be_answered(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        answer(request(**changes))


def test_phases_add_up() -> None:
    two = answer(request(phases=[{"epochs": 12}, {"epochs": 8}])).bound
    assert (two.steps, two.epsilon) == (200, pytest.approx(upper(), rel=1e-3))
    quiet = answer(request(phases=[{"epochs": 12}, {"steps": "80", "noise": "3"}])).bound
    assert quiet.epsilon < two.epsilon
    apart = answer(request(phases=[{"crop": "16"}, {"crop": "40"}])).bound
    assert any("worst at different places" in text for text in apart.warnings)


def test_warnings_and_shortcuts() -> None:
    assert answer(request()).bound.warnings == ()
    short = answer(request(clip_norm=0.5)).bound
    assert "absolute-noise" in {item.name for item in short.shortcuts}
    assert any("units of the clipping norm" in text for text in short.warnings)
    assert "absolute-noise" not in {
        item.name for item in answer(request(clip_norm=2.0)).bound.shortcuts
    }
    ragged = answer(request(sampler="shuffle", batch=30, epochs=None, steps=50)).bound
    assert any("--drop-last" in text for text in ragged.warnings)
    assert any(
        "labels" in text for text in answer(request(augmentation_noise=999.0)).bound.warnings
    )
    apart = answer(request(crops_per_image=2, clipped="apart")).bound
    assert any("2KC" in text for text in apart.warnings)
    loose = answer(request(crop_law="resized", patch="disc:3")).bound
    assert any("upper bound" in text for text in loose.warnings)


def test_profile_is_the_curve() -> None:
    found = answer(request())
    curves = profiles(found, ["fixed", "shuffle"])
    names = [curve.name for curve in curves]
    assert names[0] == "poisson, with crops"
    assert {"fixed instead", "shuffle instead", "add-remove"} <= set(names)
    assert [curve.is_bound for curve in curves][-2:] == [False, False]
    own = bracket(found.mechanisms, 1e-5).curve
    for epsilon, delta in zip(curves[0].epsilon[1:], curves[0].delta[1:], strict=True):
        assert own.delta(float(epsilon)) <= delta * (1 + 1e-9)
    assert np.all(np.diff(curves[0].epsilon) >= 0)
    assert curves[0].delta[-1] == pytest.approx(1e-9)


def test_map_holds_the_bound_at_its_worst_place() -> None:
    found = answer(request(crops_per_image=2))
    data = place_map(found)
    assert data.epsilon[data.worst] == data.epsilon.max()
    assert data.epsilon.max() == pytest.approx(found.bound.epsilon, rel=1e-4)
    assert data.rho.shape == data.epsilon.shape == (61, 61)
    corner = request(crops_per_image=2).pipeline().mechanism(1.0, float(data.rho[0, 0]))
    exact = epsilon_at(corner, 1e-5)
    assert exact <= data.epsilon[0, 0] * (1 + 1e-5) <= exact * 1.05


def test_several_patches_have_no_map() -> None:
    with pytest.raises(InputError, match="one patch, which has one place"):
        place_map(answer(request(patch="2*4")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phases": [{"epochs": 5}, {"epochs": 6}]}, "map must be of one phase, got 2 phases"),
        ({"patch": ["4", "8"]}, "map must be of one patch, got 2 patches"),
    ],
)
def test_a_map_of_a_part_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        place_map(answer(request(**changes)))


@pytest.mark.data
def test_real_objects_beside_a_patch(camvid_root: object) -> None:
    given = {"image": f"{camvid_root}/images", "crop": "200", "patch": "40x20"}
    asked = request(**given, objects=f"{camvid_root}/objects.json", batch=16, records=367)
    found = objects_answer(asked, answer(asked))
    assert found.coverage.objects == 661
    assert found.uncovered == pytest.approx(1 - found.coverage.share)
    assert 0.5 < found.uncovered < 0.6
    epsilons = [epsilon for _, _, epsilon in found.squares if epsilon is not None]
    assert epsilons == sorted(epsilons)
