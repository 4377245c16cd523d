"""Mechanisms by name, as JSON and as events; a sampler that is added with one line."""

import json
from pathlib import Path
from typing import Any, get_args

import dp_accounting
import pytest
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from cropaudit.accounting.bounds.accountant import bracket
from cropaudit.accounting.bounds.answers import bound
from cropaudit.accounting.bounds.requests import load_request
from cropaudit.accounting.bounds.settings import settings as bound_settings
from cropaudit.accounting.geometry.shapes import Rectangle, Size
from cropaudit.accounting.inclusion.probability import inclusion
from cropaudit.accounting.mechanisms.descriptions import (
    AddRemoveRecord,
    AddRemoveShortcut,
    FixedSizePatch,
    FullBatchPatch,
    Mechanism,
    PoissonPatch,
    ShufflePatch,
)
from cropaudit.accounting.mechanisms.registry import (
    from_json,
    mechanisms,
    parse_mechanism,
    read_mechanisms,
    sampler,
    to_json,
)
from cropaudit.accounting.names import CROP_LAWS, SAMPLERS, CropName, SamplerName, described
from cropaudit.cli.bound import bound as command
from cropaudit.errors import InputError

ASKED: dict[str, Any] = {"image": "64", "crop": "24", "patch": "4", "records": 100}
ASKED |= {"steps": 50, "noise": 1.0, "delta": 1e-5}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(mechanisms())),
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
    mechanism = mechanisms()[kind](noise, rate, rho, steps)
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
    told = mechanism.dp_event()
    assert told is not None
    text, _, name = told.partition(" under ")
    event = eval(text, vars(dp_accounting))
    assert str(event) == text
    relation = dp_accounting.NeighboringRelation[name]
    theirs = PLDAccountant(relation, 1e-3).compose(event).get_epsilon(1e-5)
    ours = bracket(mechanism, 1e-5)
    assert ours.lower <= theirs * (1 + 1e-3)
    assert theirs <= ours.upper * (1 + 2e-3)


@pytest.mark.parametrize(
    "mechanism",
    [
        PoissonPatch(1.0, 0.1, 0.3, 50),
        FixedSizePatch(1.0, 0.1, 1.0, 50),
        PoissonPatch(1.0, 0.1, 1.0, 50, crops=2),
        AddRemoveShortcut(1.0, 0.1, 1.0, 50),
    ],
)
def test_what_has_no_event_says_so(mechanism: Mechanism) -> None:
    assert mechanism.dp_event() is None


# The registry of samplers.


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_name_means_one_mechanism_and_says_all_of_it(name: str) -> None:
    kind = sampler(name)
    found = kind.of_loader(1.0, 100 if name == "full" else 10, 100, 0.3, 7, crops=2)
    assert (type(found), found.kind, found.crops, found.is_bound) == (kind, name, 2, True)
    assert kind.adjective
    assert kind.words
    assert not (kind.redrawn and kind.ordered)
    extra = ",epochs=2" if kind.ordered else ""
    read = parse_mechanism(f"{name}:noise=1,q=1,rho=0.3,steps=7{extra}")
    assert from_json(to_json([read])) == (read,)
    result = bound(**ASKED, sampler=name, batch=100 if name == "full" else 10)
    assert 0 < result.epsilon < result.bound.epsilon_without_crop
    json.dumps(result.to_dict(), allow_nan=False)


def test_names_are_those_of_the_registry_everywhere() -> None:
    """Settings of users, configurations of audits and reports: one list, kept in one place."""
    assert get_args(SamplerName) == tuple(SAMPLERS)
    assert get_args(CropName) == (*CROP_LAWS, "nonempty")
    assert bound_settings()["sampler"][0].legal is SAMPLERS
    for name, place in CROP_LAWS.items():
        asked = {"crop": "24", "crop_law": name} if name != "none" else {"crop_law": name}
        law = load_request(None, asked).crop_of(asked.get("crop"))
        assert type(law) is described(place)
        found = inclusion(Size(40, 50), law, Rectangle(Size(4, 4)))
        assert 0 < found.probability <= 1


TOY = """
from dataclasses import dataclass
from typing import ClassVar
from cropaudit.accounting.mechanisms.descriptions import PatchMechanism

@dataclass(frozen=True)
class EveryOther(PatchMechanism):
    kind: ClassVar[str] = "every-other"
    adjective: ClassVar[str] = "alternating"
    words: ClassVar[str] = "every other: a record is in every second step"

    def rate(self):
        return 1.0

    @property
    def compositions(self):
        return -(-self.steps // 2)
"""


def test_a_sampler_is_one_file_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "every_other.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"sampler must be one of .*, got every-other"):
        bound(**ASKED, sampler="every-other", batch=50)
    monkeypatch.setitem(SAMPLERS, "every-other", "every_other:EveryOther")
    options = [part for k, v in ASKED.items() for part in (f"--{k}", str(v))]
    command(["--sampler", "every-other", "--batch", "50", *options, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["sampler"], found["compositions"]) == ("every-other", 25)
    half = bound(**{**ASKED, "steps": 25}, sampler="full")
    assert found["epsilon"] == half.epsilon
    assert parse_mechanism("every-other:noise=1,q=1,rho=0.3,steps=7").compositions == 4
