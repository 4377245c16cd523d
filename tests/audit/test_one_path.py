"""One decision path: the same saved scores through an audit, an attack, a file, a stream, Python.

Equal scores with an equal mechanism, order and level give equal bounds, deciding estimator and
headline, whichever way they come.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cropaudit.accounting.mechanisms.descriptions import PatchMechanism, PoissonPatch
from cropaudit.attacks.registry import one_run_named
from cropaudit.audit.config.audit_config import AuditConfig
from cropaudit.audit.experiment.subject import Subject, prepare_subject
from cropaudit.audit.games.game_entry import Words
from cropaudit.audit.games.run_games import canary_game, hypothesis_of, independent_game
from cropaudit.audit.games.simulated import pair_scores
from cropaudit.audit.results.estimate_result import Estimate
from cropaudit.audit.runs.attack_run import mechanism_text
from cropaudit.audit.runs.attack_verdict import judge
from cropaudit.audit.scores.tables import ScoreTable, read_table
from cropaudit.audit.verdict.estimate import estimate, headline_of
from cropaudit.audit.verdict.stream import Stream
from cropaudit.cli.app import app
from cropaudit.estimators.bound import Bound, Cut
from cropaudit.estimators.evidence import Found
from cropaudit.estimators.hypothesis import Hypothesis
from cropaudit.estimators.null import Null
from cropaudit.estimators.policies.methods import bound_of
from cropaudit.estimators.policies.run_methods import StreamMethod
from cropaudit.estimators.registry import ESTIMATORS, Estimator, plan, register
from cropaudit.estimators.scores import Scores
from cropaudit.estimators.trials.power import Truth

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = Words("a", "b", "c")
SEED = 4  # of the audit's configuration, and so of the order of rows


@lru_cache
def subject(*attacks: str) -> Subject:
    values = {
        "seed": SEED,
        "patch": "8x8",
        "data": {"images": 12, "validation": 1, "size": "48x48"},
        "crop": {"size": "16x16"},
        "training": {"model": "tiny-net", "batch": 4, "steps": 30, "noise_multiplier": 1.0},
        "game": {"attacks": ["probe", *attacks], "canary_slots": 10},
    }
    return prepare_subject(AuditConfig.model_validate(values))


def drawn(mechanism: PatchMechanism, trials: int, seed: int) -> ScoreTable:
    scores = pair_scores(mechanism, (trials // 2, trials // 2), np.random.default_rng(seed))
    values = np.concatenate([scores.member, scores.nonmember])
    order = np.random.default_rng(seed + 1).permutation(trials)
    return ScoreTable("white-box", values[order], (np.arange(trials) < trials // 2)[order])


def saved(table: ScoreTable, folder: Path) -> Path:
    path = folder / "scores.csv"
    rows = zip(table.values.tolist(), table.member.astype(int).tolist(), strict=True)
    path.write_text("score,member\n" + "".join(f"{score!r},{bit}\n" for score, bit in rows))
    return path


def from_command(path: Path, *options: str) -> Estimate:
    given = ["estimate", str(path), "--seed", str(SEED), "--json", *options]
    found = CliRunner().invoke(app, given)
    assert found.exit_code in (0, 1), found.output
    return Estimate.model_validate(json.loads(found.stdout))


def by_name(bounds: tuple[Bound, ...]) -> dict[str, tuple[float, float | None]]:
    return {bound.estimator: (bound.epsilon, bound.cap) for bound in bounds}


@pytest.mark.parametrize("noise", [1.0, 0.3], ids=["as claimed", "loud"])
def test_one_run_with_a_mechanism(tmp_path: Path, noise: float) -> None:
    """96 canaries: an audit's game, an attack on a saved run, the command and Python."""
    audited = subject("white-box")
    mechanism = audited.mechanism
    table = drawn(mechanism.with_noise(noise), 96, 3)
    played = canary_game(audited, "white-box", WORDS, table.values, table.member, 0.0)
    judged = judge(audited, one_run_named(["white-box"]), [table], seed=SEED)
    text = mechanism_text(mechanism)
    command = from_command(saved(table, tmp_path), "--one-run", "--mechanism", text)
    asked = Hypothesis(mechanism=mechanism, trials="one-run", seed=SEED)
    python = estimate(read_table(tmp_path / "scores.csv"), asked)
    (shown,) = played.shown
    own = by_name(played.attack.bounds)
    assert set(own) == {"one-run-f-dp", "one-run-order-statistics", "one-run"}
    assert own == by_name(judged.attacks[0].bounds)
    assert own == by_name(command.attacks[0].bounds) == by_name(python.attacks[0].bounds)
    headlines = [judged.found.headline, command.headline, python.headline]
    assert {(item.epsilon_lower, item.estimator, item.validity) for item in headlines} == {
        (own["one-run-f-dp"][0], "one-run-f-dp", "model-based")
    }
    # The audit's probe has the other half of the level.
    halved = estimate([table], replace(asked, share=0.5))
    assert headline_of(played.shown, hypothesis_of(audited, "one-run")) == halved.headline
    p_values = {shown.p_value, *(item.attacks[0].p_value for item in (command, python))}
    assert p_values == {judged.found.attacks[0].p_value}
    contradicted = {item.contradicted for item in (judged.found, command, python)}
    assert len(contradicted) == 1


def test_one_run_shares_the_level_alike() -> None:
    """Two attacks halve it: in an audit, on a saved run and in a file of both."""
    audited = subject("white-box", "black-box")
    tables = [
        replace(drawn(audited.mechanism.with_noise(0.4), 64, seed), attack=name)
        for seed, name in ((3, "white-box"), (5, "black-box"))
    ]
    games = [
        canary_game(audited, table.attack, WORDS, table.values, table.member, 0.0)
        for table in tables
    ]
    shown = [item for game in games for item in game.shown]
    own = headline_of(shown, hypothesis_of(audited, "one-run"))
    assert [item.share for item in shown] == pytest.approx([1 / 3] * 2), "a third is the probe's"
    judged = judge(audited, one_run_named(["white-box", "loss"]), tables)
    asked = Hypothesis(mechanism=audited.mechanism, trials="one-run")
    assert judged.found.headline == estimate(tables, asked).headline
    python = estimate(tables, replace(asked, share=2 / 3))
    assert own == python.headline
    assert own.correction == "corrected for 2 attacks"
    assert [item.corrected.epsilon for item in shown] == [
        item.corrected.epsilon for item in python.attacks
    ]


@pytest.mark.parametrize("order", ["forward", "adaptive"], ids=["probe", "two-world"])
def test_independent_trials_with_a_mechanism(tmp_path: Path, order: str) -> None:
    """The slots of a probe, and the runs of a two-world game, by one adversary's scores."""
    audited = subject("two-world")
    mechanism = audited.mechanism
    table = drawn(mechanism.with_noise(0.8), 300, 7)
    played = independent_game(
        audited,
        table.attack,
        WORDS,
        [table.values],
        table.member,
        0.0,
        order,  # type: ignore[arg-type]
    )
    options = "--mechanism", mechanism_text(mechanism), "--order", order
    command = from_command(saved(table, tmp_path), *options)
    asked = Hypothesis(mechanism=mechanism, order=order, seed=SEED)  # type: ignore[arg-type]
    python = estimate([table], asked)
    every, own = by_name(command.attacks[0].bounds), by_name(played.attack.bounds)
    assert every == by_name(python.attacks[0].bounds)
    assert set(own) == {"rank-sum-f-dp", "joint-test"}
    assert own.items() <= every.items()
    best = command.headline.model_copy(update={"attack": table.attack})
    assert best == python.headline
    assert (best.epsilon_lower, best.estimator) == (own["rank-sum-f-dp"][0], "rank-sum-f-dp")
    # The audit's probe has the other half of the level.
    halved = estimate([table], replace(asked, share=0.5))
    assert headline_of(played.shown, hypothesis_of(audited)) == halved.headline
    assert played.shown[0].p_value == halved.attacks[0].p_value
    assert played.shown[0].free_p_value == halved.attacks[0].free_p_value


@pytest.mark.parametrize("trials", ["independent", "one-run"])
def test_without_a_mechanism(tmp_path: Path, trials: str) -> None:
    table = drawn(PoissonPatch(0.5, 0.1, 0.3, 30), 200, 9)
    path = saved(table, tmp_path)
    command = from_command(path, "--trials", trials, "--claim", "1")
    python = estimate(read_table(path), Hypothesis(claim=1.0, trials=trials, seed=SEED))  # type: ignore[arg-type]
    assert command == python
    deciding = "joint-test" if trials == "independent" else "one-run"
    assert command.headline.estimator == command.attacks[0].bounds[0].estimator == deciding


@pytest.mark.parametrize(
    "asked",
    [
        Hypothesis(claim=1.0, seed=SEED),
        Hypothesis(mechanism=PoissonPatch(1.0, 0.1, 0.3, 30), seed=SEED),
    ],
    ids=["region", "mechanism"],
)
def test_a_stream_is_the_e_process_of_a_file(asked: Hypothesis) -> None:
    """Games fed in the order in which a file's rows are paired: the same bound and p-value."""
    table = drawn(PoissonPatch(0.6, 0.1, 0.3, 30), 400, 11)
    tests = plan(asked, (200, 200)).tests
    (method,) = (test for test in tests if isinstance(test, StreamMethod))
    bound = method.bound(table.scores, asked.delta, asked.level, SEED)
    ordered = method.ordered(table.scores, SEED)
    stream = Stream.of(asked, close=1.0)
    for one, other in zip(ordered.member, ordered.nonmember, strict=True):
        stream.add(one, 1)
        stream.add(other, 0)
    assert stream.state.epsilon == pytest.approx(bound.epsilon, rel=1e-5)
    free = asked.free
    assert free is not None
    p_value = method.p_value(table.scores, free, asked.level, SEED)
    assert p_value == pytest.approx(np.exp(-stream.state.log_wealth), rel=1e-9)
    assert (stream.claim.epsilon, stream.level) == (asked.epsilon, asked.level)


# An estimator of one's own: one line of the registry.


class Toy:
    """Says nothing, soundly."""

    name, validity, assumes = "toy", "exact", "nothing"

    def bound(self, scores: Scores, delta: float, level: float, seed: int) -> Bound:
        """Returns 0."""
        return bound_of(self, Found(0.0), 0.0, delta, level, Cut(kind="roc", ranks=0))  # type: ignore[arg-type]

    def p_value(self, scores: Scores, null: Null, level: float, seed: int) -> float:
        """Returns 1."""
        return 1.0

    def detectable(self, trials: tuple[int, int], truth: Truth, level: float) -> None:
        """Returns none."""


@pytest.fixture
def toy() -> Iterator[Estimator]:
    item = register(Estimator("toy", "independent", "says nothing", lambda asked, sizes: Toy()))  # type: ignore[arg-type,return-value]
    plan.cache_clear()
    yield item
    ESTIMATORS.remove(item)
    plan.cache_clear()


def test_an_estimator_is_one_line_of_the_registry(tmp_path: Path, toy: Estimator) -> None:
    table = drawn(PoissonPatch(1.0, 0.1, 0.3, 10), 40, 1)
    path = saved(table, tmp_path)
    shown = CliRunner().invoke(app, ["estimate", str(path), "--seed", "1"])
    assert shown.exit_code == 0
    assert toy.name in shown.stdout
    found = from_command(path)
    assert [bound.estimator for bound in found.attacks[0].bounds][-1] == "toy"
    assert found.headline.estimator == "joint-test", "the first that fits decides"
