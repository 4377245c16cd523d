"""What `cropaudit estimate` does with its options: checks them, reads, asks, draws, prints."""

import io
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from cropaudit.accounting.accountant import privacy_curve
from cropaudit.accounting.registry import parse_mechanism
from cropaudit.audit.estimate import estimate
from cropaudit.audit.estimators.e_process import EProcess
from cropaudit.audit.estimators.family import Order
from cropaudit.audit.estimators.rounding import round_down
from cropaudit.audit.estimators.thresholds import Given, Policy, Ranks, Split
from cropaudit.audit.question import Question, Trials
from cropaudit.audit.repeated_rows import RepeatWatch, refuse_repeats
from cropaudit.audit.score_lines import read_games
from cropaudit.audit.score_tables import Named, ScoreTable, read_arrays, read_table
from cropaudit.audit.stream import ORDER_LEVEL, Stream, StreamClaim, StreamState
from cropaudit.errors import InputError, require
from cropaudit.reports.estimate_summary import print_estimate
from cropaudit.reports.numbers import (
    format_confidence,
    format_lower,
    format_upper,
    format_value,
)
from cropaudit.reports.outputs import PICTURE_SUFFIXES, check_output
from cropaudit.reports.progress import progress_stages

__all__ = ["Request", "load", "run_estimate"]

_STANDARD_INPUT = Path("-")
_WITHIN = 0.9
_NOTICEABLE = 0.05  # growth of the bound that is worth a line, as a share of the claim


@dataclass(frozen=True)
class Request:
    """The options as they were given; none where one was left out.

    Attributes:
        scores: A CSV, or "-" for standard input.
        member: ``.npy`` of the members' scores.
        nonmember: ``.npy`` of the nonmembers' scores.
        score_column: Name of the column with the score.
        member_column: Name of the column with the bit.
        repeats_are_independent: Whether equal rows were played anew, and are no copies.
        trials: Independent, or canaries of one run.
        one_run: The second, in short.
        two_sided: Whether low scores may speak for members.
        delta: Of every epsilon.
        confidence: Of every bound.
        mechanism: What is said to have run.
        order: Whether members held the content of world A.
        claim: Claimed epsilon.
        threshold: Fixed beforehand.
        split: Whether a threshold is learned on a part of the scores.
        rates: False positive rates to cut at, as text.
        seed: Of the order in which rows are split and paired.
        follow: Whether games are read as they finish.
        within: Share of the claim at which following them stops.
        plot: Picture to write.
        force: Whether files may be replaced.
        as_json: Whether JSON is printed, and nothing else.
    """

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
            ignored = ("trials", "one_run", "two_sided", "threshold", "split", "rates", "seed")
            self._leave_out("scores that are not followed", *self._given(*ignored))
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

    def question(self) -> Question:
        """Returns what is asked.

        Raises:
            InputError: If a value is out of range.
        """
        finite = self.claim is None or 0 <= self.claim < float("inf")
        require(finite, "claim", "at least 0 and finite", self.claim)
        return Question(
            delta=self.delta,
            confidence=self.confidence,
            mechanism=None if self.mechanism is None else parse_mechanism(self.mechanism),
            order=self.order or "either",
            claim=self.claim,
            policy=self._policy(),
            trials=self.trials_kind,
            two_sided=bool(self.two_sided),
            **({} if self.seed is None else {"seed": self.seed}),
        )

    def _policy(self) -> Policy | None:
        both = bool(self.two_sided)
        if self.threshold is not None:
            return Given(self.threshold, two_sided=both)
        if self.split:
            return Split()
        if self.rates is not None:
            return Ranks(_rates(self.rates), either_sign=both)
        return None

    def _given(self, *names: str) -> list[str]:
        return [_option(name) for name in names if getattr(self, name) is not None]

    def _leave_out(self, what: str, *given: str) -> None:
        """Raises if an option was given that only makes sense with something else."""
        if given:
            raise InputError(f"{given[0]} must be left out, or given with {what}")


def load(given: dict[str, Any]) -> Request:
    """Returns the checked request of the command line's options.

    Args:
        given: Options by name, those left out missing.

    Raises:
        InputError: If options do not go together.
    """
    request = Request(**given)
    request.check()
    return request


def run_estimate(request: Request) -> bool:
    """Answers a request, writes its picture and prints.

    Returns:
        Whether what was claimed is contradicted.

    Raises:
        InputError: If a value is illegal, the scores cannot be used, or the picture not written.
    """
    question = request.question()
    if request.follow:
        return _follow(request, question)
    with progress_stages() as stage:
        stage("Scores", 0)
        tables = _tables(request)
        if not request.repeats_are_independent:
            refuse_repeats(tables)
        stage("Estimators", 0)
        found = estimate(tables, question)
        if request.plot is not None:
            stage("Picture", 0)
            from cropaudit.reports.estimate_plots import draw_estimate  # matplotlib is slow to load

            draw_estimate(found, request.plot)
    if request.as_json:
        print(found.model_dump_json(indent=2))
        return found.contradicted
    console = Console()
    print_estimate(found, console)
    if request.plot is not None:
        console.print(f"wrote {request.plot}", highlight=False, markup=False)
    return found.contradicted


def _tables(request: Request) -> tuple[ScoreTable, ...]:
    if request.member is not None and request.nonmember is not None:
        return read_arrays(request.member, request.nonmember)
    if request.scores is None:
        raise TypeError("a checked request has scores")
    named = Named(request.score_column, request.member_column)
    if request.scores != _STANDARD_INPUT:
        return read_table(request.scores, named)
    return read_table(_standard_input(), named)


def _standard_input() -> io.TextIOWrapper:
    """Returns it as a file is read: UTF-8, without the mark that some editors put first."""
    return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")


def _follow(request: Request, question: Question) -> bool:
    """Reads games as they finish until the claim is decided; prints each step of the bound."""
    stream, said = _stream(request, question), 0.0
    if not request.as_json:
        _say(
            f"Claim: epsilon <= {format_upper(stream.claim.epsilon)} at delta "
            f"{format_value(question.delta)}; {format_confidence(question.confidence)} confidence "
            "at all times at once"
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


def _stream(request: Request, question: Question) -> Stream:
    claim, family = question.null, question.family
    if claim is None:
        raise InputError("follow must be given with --claim or --mechanism, got neither")
    within = _WITHIN if request.within is None else request.within
    require(0 < within <= 1, "within", "in (0, 1]", within)
    curve = None
    if question.mechanism is not None and question.claim is None:
        # The accountant's curve, not the game's: to contradict it assumes nothing about what ran.
        curve = privacy_curve(question.mechanism, question.delta)
        claim = question.epsilon or claim
    stated = StreamClaim(claim, question.delta, curve)
    return Stream(EProcess(family), stated, question.level, within)


def _conclude(request: Request, stream: Stream) -> None:
    if request.plot is not None:
        _plot_stream(request.plot, stream)
    state = stream.state
    if request.as_json:
        _say(_state_line(state, stream, as_json=True, final=True))
        return
    _say(_state_line(state, stream, as_json=False))
    _say(
        {
            "violation": f"Result: CLAIM CONTRADICTED; {_ground(stream)}",
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


def _ground(stream: Stream) -> str:
    """Returns what a contradiction assumes."""
    if stream.claim.curve is None and stream.process.family is not None:
        return "this assumes that the stated mechanism ran, at whatever noise"
    return "this assumes nothing about what ran"


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
    from cropaudit.reports.bound_plots import save_figure  # matplotlib is slow to load
    from cropaudit.reports.stream_plot import stream_data, stream_figure, stream_words

    claim = stream.claim
    data = stream_data(stream.history, claim.epsilon, claim.delta, 1 - stream.level)
    title = "Lower bound by games"
    save_figure(lambda: stream_figure(data), path, "stream", title, stream_words(data))


def _say(text: str) -> None:
    """Prints at once: whoever waits for a decision reads a pipe."""
    print(text, flush=True)


def _rates(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"rates must be numbers as 0.3,0.1, got {text}") from None


def _option(name: str) -> str:
    return name.replace("_", "-")
