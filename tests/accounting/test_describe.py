"""Mechanisms as JSON and as events: read back equal, and worth the same epsilon."""

import json
from pathlib import Path

import dp_accounting
import pytest
from dp_accounting import NeighboringRelation
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from cropaudit.accounting.accountant import bracket
from cropaudit.accounting.describe import from_json, read_mechanisms, to_json
from cropaudit.accounting.events import from_event, to_event
from cropaudit.accounting.mechanisms import (
    AddRemoveRecord,
    FixedSizePatch,
    FullBatchPatch,
    Mechanism,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.accounting.registry import MECHANISMS
from cropaudit.errors import InputError


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(MECHANISMS)),
    st.floats(0.1, 9),
    st.floats(0.01, 1),
    st.floats(0, 1),
    st.integers(1, 999),
)
def test_json_gives_the_same_back(
    kind: str, noise: float, rate: float, rho: float, steps: int
) -> None:
    rate = 1.0 if kind == "full" else rate
    rho = 1.0 if kind == "add-remove" else rho
    mechanism = MECHANISMS[kind](noise, rate, rho, steps)
    phases = (mechanism, mechanism.with_noise(2 * noise))
    assert from_json(to_json(phases)) == phases


def test_epochs_and_crops_survive(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    phases = (ShufflePatch(1.0, 0.1, 0.3, 50, 5, crops=3),)
    path.write_text(to_json(phases))
    assert read_mechanisms(path) == phases


GOOD = json.loads(to_json([PoissonPatch(1.0, 0.1, 0.3, 100)]))


def changed(**changes: object) -> str:
    return json.dumps({**GOOD, "phases": [{**GOOD["phases"][0], **changes}]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "mechanism file must be JSON"),
        ("[]", "mechanism file must be of format"),
        ('{"format": "other"}', "mechanism file must be of format"),
        (json.dumps({**GOOD, "phases": []}), "must hold a list of phases"),
        (changed(kind="magic"), "mechanism kind must be one of poisson, .*, got magic"),
        (changed(inclusion=2), r"inclusion probability must be in \[0, 1\], got 2"),
        (changed(steps=1.5), "steps must be a whole number, got 1.5"),
        (changed(steps=True), "steps must be a whole number, got True"),
        (changed(noise_multiplier="1"), "noise_multiplier must be a number, got 1"),
        (changed(colour=1), "mechanism keys must be among"),
        (changed(kind=["poisson"]), "mechanism kind must be one of poisson, .*, got .'poisson'."),
        (changed(kind={"a": 1}), "mechanism kind must be one of poisson"),
        (changed(kind=None), "mechanism kind must be one of poisson, .*, got None"),
        (json.dumps({**GOOD, "phases": [7]}), "mechanism kind must be one of poisson, .*, got 7"),
        (changed(noise_multiplier=10**400), "noise_multiplier must be a number, got a whole"),
        (changed(steps=10**400), "steps must be a whole number, got a whole number of 1329 bits"),
        (changed(steps=10**30), "steps must be at most 1000000000, got 1000"),
        (changed(crops=10**9), "crops must be at most 256, got 1000000000"),
        (changed(noise_multiplier=1e-200), "noise multiplier must be 0 for none, or from"),
        (changed(kind="x" * 100_000), "mechanism kind must be one of"),
        (changed(kind="\ud800"), "mechanism kind must be one of"),
        ("[" * 100_000, "mechanism file must be JSON"),
        ('{"format": ' + "[" * 400 + "]" * 400 + "}", "mechanism file must be of format"),
        (
            json.dumps({**GOOD, "phases": GOOD["phases"] * 201}),
            "phases must be at most 200, got 201",
        ),
    ],
)
def test_bad_files_are_refused_by_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        from_json(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2000
    str(caught.value).encode()


def test_many_phases_alike_are_one_and_many_apart_still_have_an_answer(tmp_path: Path) -> None:
    """Thousands of phases gave no answer; two hundred get a coarser one."""
    path = tmp_path / "m.json"
    alike = [PoissonPatch(1.0, 0.1, 0.3, 10)] * 200
    path.write_text(to_json(alike))
    assert (
        bracket(read_mechanisms(path), 1e-5).upper == bracket(alike[0].with_steps(2000), 1e-5).upper
    )
    apart = [PoissonPatch(1.0 + 0.01 * number, 0.1, 0.3, 10) for number in range(60)]
    found = bracket(apart, 1e-5)
    assert bracket(PoissonPatch(1.59, 0.1, 0.3, 600), 1e-5).lower <= found.upper
    assert 0 < found.lower <= bracket(PoissonPatch(1.0, 0.1, 0.3, 600), 1e-5).upper
    path.write_text(" " * (1 << 20) + to_json(alike))
    with pytest.raises(InputError, match="mechanism file must be of at most 1048576 bytes"):
        read_mechanisms(path)


def test_missing_keys_and_files(tmp_path: Path) -> None:
    phase = {key: value for key, value in GOOD["phases"][0].items() if key != "steps"}
    with pytest.raises(InputError, match="must have its keys"):
        from_json(json.dumps({**GOOD, "phases": [phase]}))
    with pytest.raises(InputError, match="must be readable text"):
        read_mechanisms(tmp_path / "none.json")


@pytest.mark.parametrize(
    "mechanism",
    [
        AddRemoveRecord(1.0, 0.1, 1.0, 50),
        PoissonPatch(1.0, 0.1, 1.0, 50),
        ShufflePatch(2.0, 0.1, 1.0, 50),
        FullBatchPatch(5.0, 1.0, 1.0, 20),
    ],
)
def test_events_are_worth_the_same(mechanism: Mechanism) -> None:
    event, relation = to_event(mechanism)
    theirs = PLDAccountant(relation, 1e-3).compose(event).get_epsilon(1e-5)
    ours = bracket(mechanism, 1e-5)
    assert ours.lower <= theirs * (1 + 1e-3)
    assert theirs <= ours.upper * (1 + 2e-3)
    back = from_event(event, relation)
    assert bracket(back, 1e-5).upper == pytest.approx(ours.upper, rel=2e-3)


@pytest.mark.parametrize(
    "mechanism",
    [
        PoissonPatch(1.0, 0.1, 0.3, 50),
        FixedSizePatch(1.0, 0.1, 1.0, 50),
        PoissonPatch(1.0, 0.1, 1.0, 50, crops=2),
    ],
)
def test_what_has_no_event_says_so(mechanism: Mechanism) -> None:
    with pytest.raises(InputError, match="to be a DpEvent"):
        to_event(mechanism)


def test_composed_events_are_phases() -> None:
    gaussian = dp_accounting.GaussianDpEvent(3.0)
    sampled = dp_accounting.SelfComposedDpEvent(
        dp_accounting.PoissonSampledDpEvent(0.1, gaussian), 7
    )
    event = dp_accounting.ComposedDpEvent([sampled, dp_accounting.SelfComposedDpEvent(gaussian, 2)])
    found = from_event(event, NeighboringRelation.REPLACE_ONE)
    assert [item.steps for item in found] == [7, 2]
    theirs = PLDAccountant(NeighboringRelation.REPLACE_ONE, 1e-3).compose(event).get_epsilon(1e-5)
    assert bracket(found, 1e-5).upper == pytest.approx(theirs, rel=2e-3)
    with pytest.raises(InputError, match="DpEvent must be of"):
        from_event(dp_accounting.LaplaceDpEvent(1.0), NeighboringRelation.REPLACE_ONE)
