"""What `cropaudit estimate` does with its options: checks them, reads, estimates, draws, prints."""

import io
import json
import math
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from cropaudit.accounting.mechanisms.registry import parse_mechanism
from cropaudit.audit.scores.lines import read_games
from cropaudit.audit.scores.repeated_rows import RepeatWatch, refuse_repeats
from cropaudit.audit.scores.tables import Named, ScoreTable, read_arrays, read_table
from cropaudit.audit.verdict.estimate import estimate
from cropaudit.audit.verdict.stream import ORDER_LEVEL, Stream, StreamState
from cropaudit.errors import InputError, require
from cropaudit.estimators.hypothesis import Hypothesis, Trials
from cropaudit.estimators.rounding import round_down
from cropaudit.estimators.trials.family import Order
from cropaudit.estimators.trials.thresholds import Given, Policy, Ranks, Split
from cropaudit.reports.outputs import PICTURE_SUFFIXES, check_output
from cropaudit.reports.progress import progress_stages
from cropaudit.reports.summaries.estimate import print_estimate
from cropaudit.reports.text.numbers import (
    format_confidence,
    format_lower,
    format_upper,
    format_value,
)

__all__ = ["Request", "load", "run_estimate"]

_STANDARD_INPUT = Path("-")
_WITHIN = 0.9
_NOTICEABLE = 0.05  # growth of the bound that is worth a line, as a share of the claim
_NOT_FOLLOWED = ("trials", "one_run", "two_sided", "threshold", "split", "rates", "seed")


@dataclass(frozen=True)
class Request:
    """The options, as their help has them; none where one was left out."""

    scores: Path | None = None
    member: Path | None = None
    nonmember: Path | None = None
    score_column: str | None = None
    member_column: str | None = None
    repeats_are_independent: bool = False
    trials: Trials | None = None
    one_run: bool | None = None
    two_sided: bool | None = None
    delta: float = 1e-5
    confidence: float = 0.95
    mechanism: str | None = None
    order: Order | None = None
    claim: float | None = None
    threshold: float | None = None
    split: bool | None = None
    rates: str | None = None
    seed: int | None = None
    follow: bool | None = None
    within: float | None = None
    plot: Path | None = None
    force: bool = False
    as_json: bool = False

    def check(self) -> None:
        """Refuses options that do not go together, or would be ignored.

        Raises:
            InputError: If there are any.
        """
        self._check_source()
        cuts = self._given("threshold", "split", "rates")
        require(
            len(cuts) <= 1, "threshold, split and rates", "given one at most", " and ".join(cuts)
        )
        if self.one_run:
            require(self.trials != "independent", "trials", "one-run with --one-run", self.trials)
        if self.trials_kind == "one-run":
            self._leave_out("independent trials", *cuts)
        if self.split:
            self._leave_out("a threshold that is not learned", *self._given("two_sided"))
        if self.mechanism is None:
            self._leave_out("a --mechanism", *self._given("order"))
        if self.follow:
            self._leave_out("scores that are not followed", *self._given(*_NOT_FOLLOWED))
        else:
            self._leave_out("--follow", *self._given("within"))
        if self.plot is not None:
            check_output(self.plot, PICTURE_SUFFIXES, self.force, name="plot")

    def _check_source(self) -> None:
        arrays = self._given("member", "nonmember")
        together = len(arrays) == (0 if self.scores is not None else 2)
        legal = "given as one CSV, or as --member and --nonmember together"
        got = " and ".join([*([str(self.scores)] if self.scores else []), *arrays]) or "none"
        require(together, "scores", legal, got)
        named = self._given("score_column", "member_column")
        if arrays:
            self._leave_out("a table of scores", *named)
        if self.follow:
            self._leave_out("scores that are not followed", *named)
            require(self.scores == _STANDARD_INPUT, "scores", "- (standard input) to follow", got)

    @property
    def trials_kind(self) -> Trials:
        """Which kind of trials was scored."""
        return "one-run" if self.one_run else self.trials or "independent"

    def hypothesis(self) -> Hypothesis:
        """Returns what is held against the scores.

        Raises:
            InputError: If a value is out of range.
        """
        return Hypothesis(
            delta=self.delta,
            confidence=self.confidence,
            mechanism=None if self.mechanism is None else parse_mechanism(self.mechanism),
            order=self.order,
            claim=self.claim,
            policy=self._policy(),
            trials=self.trials_kind,
            two_sided=bool(self.two_sided),
            seed=secrets.randbits(31) if self.seed is None else self.seed,
        )

    def _policy(self) -> Policy | None:
        both = bool(self.two_sided)
        if self.threshold is not None:
            return Given(self.threshold, two_sided=both)
        if self.split:
            return Split()
        return None if self.rates is None else Ranks(_rates(self.rates), either_sign=both)

    def _given(self, *names: str) -> list[str]:
        return [name.replace("_", "-") for name in names if getattr(self, name) is not None]

    def _leave_out(self, what: str, *given: str) -> None:
        """Raises if an option was given that only makes sense with something else."""
        if given:
            raise InputError(f"{given[0]} must be left out, or given with {what}")

    def tables(self) -> tuple[ScoreTable, ...]:
        """Reads the scores."""
        if self.member is not None and self.nonmember is not None:
            return read_arrays(self.member, self.nonmember)
        if self.scores is None:
            raise TypeError("a checked request has scores")
        source = _standard_input() if self.scores == _STANDARD_INPUT else self.scores
        return read_table(source, Named(self.score_column, self.member_column))


def load(given: dict[str, Any]) -> Request:
    """Returns the checked request of the command line's options, those left out missing.

    Raises:
        InputError: If options do not go together.
    """
    request = Request(**given)
    request.check()
    return request


def run_estimate(request: Request) -> bool:
    """Answers a request, writes its picture and prints; returns whether the claim is contradicted.

    Raises:
        InputError: If a value is illegal, the scores cannot be used, or the picture not written.
    """
    hypothesis = request.hypothesis()
    if request.follow:
        return _follow(request, hypothesis)
    with progress_stages() as stage:
        stage("Scores", 0)
        tables = request.tables()
        if not request.repeats_are_independent:
            refuse_repeats(tables)
        stage("Estimators", 0)
        found = estimate(tables, hypothesis)
        if request.plot is not None:
            stage("Picture", 0)
            # matplotlib is slow to load
            from cropaudit.reports.pictures.estimate_plots import estimate_drawing

            estimate_drawing(found).save(request.plot)
    if request.as_json:
        print(found.model_dump_json(indent=2))
        return found.contradicted
    console = Console()
    print_estimate(found, console)
    if request.plot is not None:
        console.print(f"wrote {request.plot}", highlight=False, markup=False)
    return found.contradicted


def _standard_input() -> io.TextIOWrapper:
    """Returns it as a file is read: UTF-8, without the mark that some editors put first."""
    return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")


def _follow(request: Request, hypothesis: Hypothesis) -> bool:
    """Reads games as they finish until the claim is decided; prints each step of the bound."""
    within = _WITHIN if request.within is None else request.within
    require(0 < within <= 1, "within", "in (0, 1]", within)
    stream, said = Stream.of(hypothesis, within), 0.0
    if not request.as_json:
        _say(
            f"Claim: epsilon <= {format_upper(stream.claim.epsilon)} at delta "
            f"{format_value(hypothesis.delta)}; {format_confidence(hypothesis.confidence)} "
            "confidence at all times at once"
        )
    watch = RepeatWatch()
    for score, bit in read_games(_standard_input()):
        if not request.repeats_are_independent:
            watch.add(score, bit)
        stream.add(score, bit)
        state = stream.state
        if state.decision != "undecided":
            break
        if state.epsilon - said >= _NOTICEABLE * stream.claim.epsilon:
            said = state.epsilon
            _say(_state_line(state, stream, as_json=request.as_json))
    require(stream.games > 0, "scores from standard input", "at least one game", "none")
    _conclude(request, stream)
    refuted = stream.state.decision == "withheld"
    legal = f"in an order that knows nothing of their scores (refuted, p below {ORDER_LEVEL:g})"
    require(not refuted, "games", legal, f"{stream.games} that look sorted or paired by score")
    return stream.state.decision == "violation"


def _conclude(request: Request, stream: Stream) -> None:
    if request.plot is not None:
        _plot_stream(request.plot, stream)
    state = stream.state
    _say(_state_line(state, stream, as_json=request.as_json, final=True))
    if request.as_json:
        return
    ground = (
        "nothing about what ran" if stream.free else "that the stated mechanism ran, at any noise"
    )
    _say(
        {
            "violation": f"Result: CLAIM CONTRADICTED; this assumes {ground}",
            "close": f"Result: claim not contradicted; the bound reached {stream.close:g} of it",
            "undecided": "Result: undecided; the claim is not contradicted",
            "withheld": "Result: withheld; nothing is said of games in such an order",
        }[state.decision]
    )
    _say(f"{stream.process.name} assumes: {stream.process.assumes}")
    _say(
        f"The order of the games is tested as well: refuted wrongly at most {ORDER_LEVEL:g} of the "
        "time, ever"
    )
    _say("Note: a lower bound never certifies epsilon")
    if request.plot is not None:
        _say(f"wrote {request.plot}")


def _state_line(state: StreamState, stream: Stream, *, as_json: bool, final: bool = False) -> str:
    p_value = math.exp(-state.log_wealth)
    if not as_json:
        return (
            f"{state.games:>9,} games: epsilon >= {format_lower(state.epsilon)}, "
            f"p-value of the claim {format_upper(p_value, 2) if p_value < 1 else 1}"
        )
    return json.dumps(
        {
            "games": state.games,
            "pairs": state.pairs,
            "epsilon": round_down(state.epsilon),
            "p_value": p_value,
            "claim": stream.claim.epsilon,
            "delta": stream.claim.delta,
            "confidence": 1 - stream.level,
            "decision": state.decision,
            "final": final,
        }
    )


def _plot_stream(path: Path, stream: Stream) -> None:
    from cropaudit.reports.pictures.stream_plot import stream_drawing  # matplotlib loads slowly

    claim = stream.claim
    stream_drawing(stream.history, claim.epsilon, claim.delta, 1 - stream.level).save(path)


def _say(text: str) -> None:
    """Prints at once: whoever waits for a decision reads a pipe."""
    print(text, flush=True)


def _rates(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"rates must be numbers as 0.3,0.1, got {text}") from None
