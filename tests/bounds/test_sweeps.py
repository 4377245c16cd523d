"""Sweeps: the same numbers as single questions, and their grammar."""

import pytest

from cropaudit.accounting.accountant import epsilon_at
from cropaudit.bounds.requests import BoundRequest, load_request
from cropaudit.bounds.sweeps import parse_sweep, run_sweep
from cropaudit.errors import InputError


def request(**changes: object) -> BoundRequest:
    base = {"image": "64", "crop": "16", "patch": "4", "batch": 10, "records": 100, "steps": 50}
    return load_request(None, {**base, "noise": 1.0, "delta": 1e-5, **changes})


def single(**changes: object) -> float:
    found = request(**changes)
    noise = found.noise_multiplier()
    assert noise is not None
    return epsilon_at(found.pipeline().mechanism(noise), 1e-5)


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("crop=8:40:16", "crop", ["8", "24", "40"]),
        ("patch=1,7", "patch", ["1", "7"]),
        ("padding=0:8:4", "padding", ["0", "4", "8"]),
        ("noise=0.5,2", "noise", [0.5, 2.0]),
        ("batch=5,20", "batch", [5, 20]),
        ("crops-per-image=1,4", "crops_per_image", [1, 4]),
        ("records=50,500", "records", [50, 500]),
    ],
)
def test_a_sweep_is_many_questions(text: str, key: str, values: list[object]) -> None:
    ticks: list[None] = []
    found = run_sweep(request(), parse_sweep(text), tick=lambda: ticks.append(None))
    assert len(ticks) == len(values) == len(found.values)
    expected = [single(**{key: value}) for value in values]
    assert found.series[0].epsilon == pytest.approx(expected, rel=1e-12)
    for line in found.series:
        pairs = zip(line.epsilon, line.epsilon_without_crop, strict=True)
        assert all(a <= b * (1 + 1e-3) for a, b in pairs)


@pytest.mark.parametrize("sampler", ["poisson", "fixed", "shuffle"])
def test_steps_agree_with_single_questions(sampler: str) -> None:
    found = run_sweep(request(sampler=sampler), parse_sweep("steps=10:110:50"))
    expected = [single(sampler=sampler, steps=n) for n in (10, 60, 110)]
    assert found.series[0].epsilon == pytest.approx(expected, rel=2e-3)


def test_series() -> None:
    found = run_sweep(request(), parse_sweep("crop=8,16"), parse_sweep("noise=1,2", "series"))
    assert [line.name for line in found.series] == ["noise 1", "noise 2"]
    assert found.series[1].epsilon[1] == single(noise=2.0)


def test_phases_are_not_swept() -> None:
    with pytest.raises(InputError, match="sweep must be of one phase, got 2 phases"):
        run_sweep(request(phases=[{"steps": 5}, {"steps": 6}]), parse_sweep("crop=8,16"))


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_values_are_finite(value: str) -> None:
    with pytest.raises(InputError, match="sweep must be of finite numbers"):
        parse_sweep(f"crop=1,{value}")


def test_a_series_is_of_another_setting() -> None:
    with pytest.raises(InputError, match="series must be of another setting than the sweep"):
        run_sweep(request(), parse_sweep("crop=8,16"), parse_sweep("crop=9,10", "series"))


def test_epochs_replace_steps() -> None:
    found = run_sweep(request(), parse_sweep("epochs=1,3"))
    assert found.series[0].epsilon[1] == single(steps=None, epochs=3)


@pytest.mark.parametrize(
    "text",
    ["", "crop", "crop=", "colour=1:2:1", "crop=1:2", "crop=2:1:1", "crop=1:9:0", "noise=a,b"],
)
def test_bad_sweeps(text: str) -> None:
    with pytest.raises(InputError, match=r"sweep must be one of crop, .*got"):
        parse_sweep(text)


def test_whole_numbers_and_lengths() -> None:
    with pytest.raises(InputError, match=r"sweep must be of whole numbers, got crop=1\.5,2"):
        parse_sweep("crop=1.5,2")
    with pytest.raises(InputError, match="sweep must be one of"):
        parse_sweep("crop=1:1000000:1")
    with pytest.raises(InputError, match="noise must be given for a sweep"):
        run_sweep(request(noise=None), parse_sweep("crop=8,16"))
