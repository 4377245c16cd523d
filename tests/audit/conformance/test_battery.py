"""The battery: one level for all checks, statuses, the verdict, and how it is written down."""

import io
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from junitparser import JUnitXml
from rich.console import Console

from cropaudit.audit.conformance.battery import LEVEL, Battery, examine
from cropaudit.audit.conformance.catalogue import CHECKS, check_named
from cropaudit.audit.conformance.faults.registry import clean_pipelines, faults, mutant
from cropaudit.audit.conformance.observe.contract import Contract, Trouble
from cropaudit.audit.conformance.outcome import Outcome, Picture, decide, doubtful, settled
from cropaudit.audit.conformance.outcome import Tested as Null
from cropaudit.audit.conformance.seen import Seen
from cropaudit.errors import InputError
from cropaudit.reports.conform_summary import (
    battery_document,
    battery_junit,
    print_battery,
    print_catalogue,
)
from tests.conformance_draws import claim, crop_draws, pairs_of

P_VALUES = st.lists(st.lists(st.floats(0, 1), max_size=4), min_size=1, max_size=6)
TROUBLE = Trouble("raised", "ValueError: <odd> & [red]", "crop.py:7", "transform")


def outcomes(values: list[list[float]]) -> list[Outcome]:
    return [
        Outcome(str(i), tuple(Null("null", p, f"p{i}") for p in row), "measured")
        for i, row in enumerate(values)
    ]


def sound(contract: Contract | None = None) -> Battery:
    rng = np.random.default_rng(0)
    seen = Seen(
        contract=contract or Contract(calls=3, style="v2"),
        draws=crop_draws(rng, 1000),
        pairs=pairs_of([-1] * 20 + [50] * 80),
    )
    return examine(seen, claim())


def printed(battery: Battery) -> str:
    console = Console(file=io.StringIO(), width=2000)
    print_battery(battery, {}, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@settings(max_examples=200, deadline=None)
@given(P_VALUES, st.floats(0.001, 0.5))
def test_what_fails_is_what_holm_rejects(values: list[list[float]], level: float) -> None:
    """Against Holm's own step-down words: the k-th smallest meets level / (tests - k)."""
    flat = sorted((p, i) for i, row in enumerate(values) for p in row)
    slow = set()
    for k, (p, i) in enumerate(flat):
        if p * (len(flat) - k) > level:
            break
        slow.add(i)
    found = decide(outcomes(values), level)
    assert {int(item.check) for item in found if item.status == "fail"} == slow
    for item, row in zip(found, values, strict=True):
        if not row:
            assert (item.status, item.p_value) == ("inconclusive", None)
        elif item.status == "pass":
            assert item.detail == "measured"


def test_sound_tests_fail_anywhere_with_at_most_the_level() -> None:
    """2000 sets of 20 uniform p-values at 5%: more than 140 fail with a probability of 4e-5."""
    rng = np.random.default_rng(0)
    draws = rng.random((2000, 20))
    failed = [
        any(x.status == "fail" for x in decide(outcomes([row]), 0.05)) for row in draws.tolist()
    ]
    assert sum(failed) <= 140


def test_statuses_in_order_of_what_matters() -> None:
    tests = (Null("null", 0.0, "odd"), Null("null", 0.9, "fine"))
    given = [
        Outcome("fails", tests, undecided="unknown", skipped="not given"),
        Outcome("skipped", skipped="not given", undecided="unknown"),
        Outcome("cannot tell", tests[1:], undecided="unknown"),
        Outcome("empty"),
        Outcome("passes", tests[1:], "measured"),
    ]
    found = decide(given, 0.05)
    statuses = ["fail", "skipped", "inconclusive", "inconclusive", "pass"]
    assert [item.status for item in found] == statuses
    details = ["odd", "not given", "unknown", "nothing could be tested", "measured"]
    assert [item.detail for item in found] == details
    assert Battery(found, 0.05, claim()).verdict == "fail"
    assert Battery(found[1:], 0.05, claim()).verdict == "inconclusive"
    assert Battery(found[4:], 0.05, claim()).verdict == "pass"
    null = Null("null", 1.0, "")
    more = [
        Outcome("blind", (null,), unmeasured="no noise seen", undecided="few", differs="more"),
        Outcome("more", (null,), differs="more noise"),
    ]
    blind = decide(more, 0.05)
    assert [item.status for item in blind] == ["not measured", "differs"]
    assert Battery(blind, 0.05, claim()).verdict == "inconclusive"
    assert Battery(blind[1:], 0.05, claim()).verdict == "differs"
    assert Battery(found, 0.05, claim()).finding("fails") is found[0]


@pytest.mark.parametrize("level", [0, 1, -1, float("nan")])
def test_an_illegal_level_is_refused(level: float) -> None:
    with pytest.raises(InputError, match="level must be in"):
        examine(Seen(), claim(), level)


@pytest.mark.parametrize("p_value", [-0.1, 1.1, float("nan")])
def test_an_illegal_p_value_is_refused(p_value: float) -> None:
    with pytest.raises(InputError, match="p-value"):
        Null("null", p_value, "")


def test_every_check_of_the_catalogue_runs_and_says_what_it_lacks() -> None:
    battery = examine(Seen(), claim())
    assert [item.check for item in battery.findings] == [item.name for item in CHECKS]
    assert {item.status for item in battery.findings[1:]} == {"skipped"}
    assert all(item.detail for item in battery.findings)
    assert battery.level == LEVEL


def test_a_sound_crop_passes_with_the_power_of_each_check() -> None:
    battery = sound()
    assert battery.verdict == "pass"
    passed = [item for item in battery.findings if item.status == "pass"]
    assert len(passed) == 6
    assert all(item.outcome.power and item.nulls for item in passed)
    text = printed(battery)
    assert (
        "Pass: 6 checks (a sound pipeline fails anywhere with a probability of at most 0.01)"
        in text
    )
    assert all(item.outcome.power.split(";")[0] in text for item in passed)


def test_a_trouble_fails_with_its_line_and_a_print_does_not() -> None:
    told = Trouble("printed", "printed 'loss 3'", "crop.py:3", "transform")
    assert sound(Contract((told,))).verdict == "pass"
    assert "it printed 'loss 3' (crop.py:3)" in sound(Contract((told,))).finding("contract").detail
    battery = sound(Contract((told, TROUBLE)))
    assert battery.verdict == "fail"
    finding = battery.finding("contract")
    assert finding.detail == "the transform raised ValueError: <odd> & [red] (crop.py:7)"
    assert finding.outcome.where == "crop.py:7"
    assert "ValueError: <odd> & [red] (crop.py:7)" in printed(battery)


def test_json_holds_every_check_and_only_json_values() -> None:
    battery = sound(Contract((TROUBLE,)))
    document = battery_document(battery, {"a/leak-1.png": "caption"})
    again = json.loads(json.dumps(document, allow_nan=False))
    assert again == document
    assert (again["verdict"], again["failed"]) == ("fail", ["contract"])
    assert again["pictures"] == {"a/leak-1.png": "caption"}
    keys = {"check", "status", "detail", "p_value", "nulls", "power", "where", "figures"}
    assert all(set(item) == keys for item in again["checks"])


def test_json_has_no_number_for_an_epsilon_without_end() -> None:
    endless = Outcome("accountant", (Null("null", 0.0, ""),), figures={"delivered_low": math.inf})
    document = battery_document(Battery(decide([endless], 0.01), 0.01, claim()), {})
    assert json.loads(json.dumps(document, allow_nan=False))["checks"][0]["figures"] == {
        "delivered_low": None
    }


def test_junit_counts_failures_and_skipped_checks() -> None:
    xml = battery_junit(sound(Contract((TROUBLE,))))
    document = JUnitXml.fromstring(xml.decode())
    assert (document.tests, document.failures, document.errors) == (len(CHECKS), 1, 0)
    assert document.skipped == 10
    cases = {case.name: case for suite in document for case in suite}
    (failure,) = cases["contract"].result
    assert failure.text == "the transform raised ValueError: <odd> & [red] (crop.py:7) crop.py:7"
    assert cases["window law"].result == []


@pytest.mark.parametrize("odd", ["\x00", "\x1b[31m", "\ud800", "\uffff", "\x7f"])
def test_no_message_breaks_the_junit_file(odd: str) -> None:
    trouble = Trouble("raised", f"Error: {odd}", "crop.py:7", "transform")
    assert JUnitXml.fromstring(battery_junit(sound(Contract((trouble,)))).decode())


def test_the_catalogue_names_faults_and_sound_pipelines() -> None:
    console = Console(file=io.StringIO(), width=200)
    print_catalogue(faults(), clean_pipelines(), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for item in (*faults(), *clean_pipelines()):
        assert item.name in text
        assert mutant(item.name) is item
    for fault in faults():
        assert check_named(fault.check).name == fault.check
    assert all(not item.check for item in clean_pipelines())


def test_pictures_that_are_not_written_are_counted() -> None:
    picture = Picture("leak-1", "caption", b"png")
    failed = Outcome("fails", (Null("null", 0.0, "odd"),), pictures=(picture, picture))
    battery = Battery(decide([failed], 0.05), 0.05, claim())
    assert "2 counter-examples are drawn with --out FOLDER." in printed(battery)
    console = Console(file=io.StringIO(), width=200)
    print_battery(battery, {"out/leak-1.png": "caption", "out/leak-2.png": "other"}, console)
    assert isinstance(console.file, io.StringIO)
    assert "Counter-example: out/leak-1.png\n  caption" in console.file.getvalue()


# A rejection that chance might have made is asked again.


def test_what_fresh_draws_do_not_bear_out_is_no_failure() -> None:
    first = [
        Outcome("odd", (Null("a", 1e-4, "odd"), Null("b", 0.5, "b")), "measured"),
        Outcome("real", (Null("a", 1e-4, "real"),)),
        Outcome("sure", (Null("a", 1e-12, "sure"),)),
        Outcome("exact", (Null("a", 0.0, "exact"),)),
    ]
    second = [
        Outcome("odd", (Null("a", 0.4, "odd"), Null("b", 1e-9, "b"))),
        Outcome("real", (Null("a", 1e-3, "real"),)),
        Outcome("sure", (Null("a", 0.9, "sure"),)),
        Outcome("exact", ()),
    ]
    assert doubtful(first, 0.01)
    found = decide(settled(first, second, 0.01), 0.01)
    assert [item.status for item in found] == ["pass", "fail", "fail", "fail"]
    assert found[0].detail == (
        "measured; seen once and not again in fresh draws, so taken for chance: odd"
    )


def test_a_test_that_fresh_draws_lack_stays_rejected() -> None:
    first = [Outcome("x", (Null("a", 1e-4, "odd"),))]
    (found,) = decide(settled(first, [Outcome("x", skipped="hung")], 0.01), 0.01)
    assert found.status == "fail"


def test_one_null_of_two_subjects_is_two_questions() -> None:
    """What the whole pipeline says again is no answer for the loader, nor for what is sure."""
    real = [Outcome("x", (Null("a", 1e-4, "loader"), Null("a", 0.5, "pipeline")))]
    (found,) = decide(settled(real, real, 0.01), 0.01)
    assert (found.status, found.detail) == ("fail", "loader")
    first = [Outcome("x", (Null("a", 0.0, "loader"), Null("a", 1e-4, "pipeline")))]
    second = [Outcome("x", (Null("a", 0.0, "loader"), Null("a", 0.5, "pipeline")))]
    (found,) = decide(settled(first, second, 0.01), 0.01)
    assert (found.status, found.detail) == ("fail", "loader")
    fewer = [Outcome("x", (Null("a", 0.5, "pipeline"),))]
    assert decide(settled(real, fewer, 0.01), 0.01)[0].status == "fail"


@pytest.mark.parametrize("why", ["skipped", "unmeasured", "undecided"])
def test_fresh_draws_that_fell_short_settle_nothing(why: str) -> None:
    first = [Outcome("x", (Null("a", 1e-4, "odd"),))]
    short = Outcome("x", (Null("a", 1.0, "few"),), **{why: "9 of 480 replays"})
    assert decide(settled(first, [short], 0.01), 0.01)[0].status == "fail"


def test_what_was_chance_does_not_raise_the_bar_for_the_rest() -> None:
    """By Holm, the second of three is rejected at level / 2, and still is without the first."""
    first = outcomes([[1e-4], [0.0045], [0.5]])
    second = outcomes([[0.5], [1e-3], [0.5]])
    assert [item.status for item in decide(first, 0.01)] == ["fail", "fail", "pass"]
    found = decide(settled(first, second, 0.01), 0.01)
    assert [item.status for item in found] == ["pass", "fail", "pass"]


@settings(max_examples=200, deadline=None)
@given(P_VALUES, P_VALUES, st.floats(0.001, 0.5))
def test_fresh_draws_never_add_a_failure(
    values: list[list[float]], others: list[list[float]], level: float
) -> None:
    first, second = outcomes(values), outcomes(others)
    before = {item.check for item in decide(first, level) if item.status == "fail"}
    after = {item.check for item in decide(settled(first, second, level), level)
             if item.status == "fail"}  # fmt: skip
    assert after <= before
    if not doubtful(first, level):
        assert after == before


def test_a_sound_pipeline_is_looked_at_again_only_in_doubt() -> None:
    looks = []

    def again() -> Seen:
        looks.append(1)
        return Seen()

    rng = np.random.default_rng(0)
    draws = crop_draws(rng, 1000)
    examine(Seen(draws=draws), claim(), again=again)
    assert not looks


def test_false_alarms_are_the_square_of_the_level() -> None:
    """2,000 sound batteries of five tests at 20%: some 4% stay, of a fifth that failed at first.

    A false failure has a probability below 1e-4.
    """
    rng = np.random.default_rng(1)
    failures = 0
    for _ in range(2000):
        first, second = (outcomes([[p] for p in rng.random(5)]) for _ in range(2))
        found = decide(settled(first, second, 0.2), 0.2)
        failures += any(item.status == "fail" for item in found)
    assert failures < 0.06 * 2000
