"""Coverage and tightness of the estimators, by simulation: ``python -m tests.study``.

Coverage: the share of games in which a "lower bound" exceeds the true epsilon, for truths of about
0, 1 and 4, beside its exact 95% interval and the nominal level. Tightness: the bound over the
epsilon of the pair that was played. Games are drawn straight from the pair of mixtures, or from
randomised response; nothing is trained. The tables replace what stands between the markers of
docs/estimators.md.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from scipy.stats import binomtest

from cropaudit.accounting.accountant import pair_curve
from cropaudit.accounting.mechanisms import FixedSizePatch, PatchMechanism, PoissonPatch
from cropaudit.audit.design import planned_threshold, score_rates
from cropaudit.audit.estimators.clopper_pearson import box_epsilon, clopper_pearson
from cropaudit.audit.estimators.limits import measured_box, upper_limit
from cropaudit.audit.estimators.mechanism_fdp import mechanism_fdp
from cropaudit.audit.estimators.one_run import one_run
from cropaudit.audit.estimators.scores import Scores

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "estimators.md"
BEGIN, END = "<!-- study: begin -->", "<!-- study: end -->"
LEVEL, DELTA = 0.05, 1e-5
SLOTS = 1000  # of a coverage game
QUIET, LOUD = PoissonPatch(2.25, 0.1, 0.3, 100), PoissonPatch(0.84, 0.1, 0.3, 100)
TIGHTNESS = (PoissonPatch(1.0, 0.1, 0.3, 100), FixedSizePatch(1.0, 0.1, 0.3, 1000))
SIZES = (1000, 10_000)

Play = Callable[[np.random.Generator], float]
Estimator = Callable[[Scores], float]


@dataclass(frozen=True)
class Coverage:
    """A game of known epsilon, and the estimator that is held against it.

    Attributes:
        estimator: Its name.
        game: What is played, in words.
        truth: The true epsilon.
        weight: Games, as a multiple of the option ``--repetitions``.
        play: Plays one game and returns the bound.
    """

    estimator: str
    game: str
    truth: float
    weight: int
    play: Play


def response_scores(epsilon: float, slots: int, rng: np.random.Generator) -> Scores:
    """Returns fair coins and their randomised responses: the worst (epsilon, 0)-DP mechanism."""
    coins = rng.random(slots) < 0.5
    lies = rng.random(slots) < 1 / (1 + math.exp(epsilon))
    return Scores.labelled((coins ^ lies).astype(float), coins.astype(float))


def pair_scores(
    mechanism: PatchMechanism, slots: int, rng: np.random.Generator, *, alike: bool = False
) -> Scores:
    """Returns summed log-likelihood ratios of the mechanism's pair, a fair coin for every slot.

    Args:
        mechanism: What is played and scored.
        slots: Coins.
        rng: Source of all randomness.
        alike: Whether both worlds follow Q, so that there is nothing to find.
    """
    members = int(rng.binomial(slots, 0.5))
    pair = mechanism.pair()
    worlds = []
    for weights, count in ((pair.q if alike else pair.p, members), (pair.q, slots - members)):
        total = np.zeros(count)
        for _ in range(mechanism.compositions):
            which = rng.random(count)
            means = np.where(which < weights[2], 1.0, np.where(which < sum(weights[1:]), 0.0, -1.0))
            total += pair.log_ratio(means + pair.sigma * rng.standard_normal(count))
        worlds.append(total)
    return Scores.of(*worlds)


def plain_threshold(mechanism: PatchMechanism, slots: int) -> float:
    """Returns the threshold that promises the best Clopper-Pearson bound at expected counts."""
    pair, n = mechanism.pair(), slots // 2
    cuts, tpr, fpr = score_rates(pair, pair, mechanism.compositions)
    picks = np.unique(np.searchsorted(-fpr, -np.geomspace(1 - 1e-6, 1e-6, 400)))
    picks = picks[picks < len(cuts)]

    def promise(at: int) -> float:
        alarms = upper_limit(n * float(fpr[at]), n, LEVEL / 2)
        misses = upper_limit(n * float(1 - tpr[at]), n, LEVEL / 2)
        return box_epsilon(alarms, misses, DELTA)

    return float(cuts[max(picks, key=promise)])


def true_epsilon(mechanism: PatchMechanism) -> float:
    """Returns the epsilon of the pair in its game, both directions."""
    return pair_curve(mechanism.pair(), mechanism.compositions, DELTA).epsilon(DELTA)


def estimators(mechanism: PatchMechanism, slots: int) -> dict[str, Estimator]:
    """Returns the three estimators, their thresholds planned for this game."""
    plain = plain_threshold(mechanism, slots)
    planned = planned_threshold(mechanism, DELTA, slots // 2, slots // 2, LEVEL)
    return {
        "clopper-pearson": lambda s: clopper_pearson(measured_box(s, plain, LEVEL), DELTA).epsilon,
        "one-run": lambda s: one_run(s, DELTA, LEVEL, seed=0).epsilon,
        "mechanism-f-dp": lambda s: (
            mechanism_fdp(measured_box(s, planned, LEVEL), mechanism, DELTA).epsilon
        ),
    }


def coverage_cases() -> Iterator[Coverage]:
    """Returns every estimator under every truth."""
    on_responses: dict[str, Estimator] = {
        "clopper-pearson": lambda s: clopper_pearson(measured_box(s, 0.5, LEVEL), 0.0).epsilon,
        "one-run": lambda s: one_run(s, 0.0, LEVEL, seed=0).epsilon,
    }
    for name, found in on_responses.items():
        for epsilon in (0.0, 1.0, 4.0):
            yield Coverage(
                name,
                "randomised response",
                epsilon,
                5,
                lambda rng, e=epsilon, f=found: f(response_scores(e, SLOTS, rng)),
            )
    for mechanism, alike in ((QUIET, True), (QUIET, False), (LOUD, False)):
        words = "alike worlds" if alike else f"Poisson pair, sigma {mechanism.noise_multiplier:g}"
        truth = 0.0 if alike else true_epsilon(mechanism)
        for name, found in estimators(mechanism, SLOTS).items():
            yield Coverage(
                name,
                words,
                truth,
                2 if name == "mechanism-f-dp" else 5,
                lambda rng, m=mechanism, a=alike, f=found: f(pair_scores(m, SLOTS, rng, alike=a)),
            )


def coverage_table(
    cases: Sequence[Coverage], repetitions: int, seed: int, tick: Callable[[], None]
) -> str:
    """Plays the coverage games; returns a Markdown table."""
    rows = []
    for number, case in enumerate(sorted(cases, key=lambda c: (c.estimator, c.game, c.truth))):
        games = case.weight * repetitions
        rng = np.random.default_rng([seed, 0, number])
        above = 0
        for _ in range(games):
            above += case.play(rng) > case.truth
            tick()
        interval = binomtest(above, games).proportion_ci(0.95)
        share, low, high = (100 * x for x in (above / games, interval.low, interval.high))
        rows.append(
            f"| {case.estimator} | {case.game} | {case.truth:.3g} | {games} | {share:.1f}% "
            f"| {low:.1f}% to {high:.1f}% | {100 * LEVEL:g}% |"
        )
    head = "| estimator | game | true epsilon | games | bound above it | 95% interval | nominal |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


def tightness_table(repetitions: int, seed: int, tick: Callable[[], None]) -> str:
    """Plays the tightness games; returns a Markdown table of median ratios."""
    rows = []
    for number, mechanism in enumerate(TIGHTNESS):
        truth = true_epsilon(mechanism)
        cells = {}
        for slots in SIZES:
            found = estimators(mechanism, slots)
            rng = np.random.default_rng([seed, 1, number, slots])
            ratios: dict[str, list[float]] = {name: [] for name in found}
            for _ in range(repetitions):
                scores = pair_scores(mechanism, slots, rng)
                for name, estimate in found.items():
                    ratios[name].append(estimate(scores) / truth)
                tick()
            cells[slots] = {name: _spread(values) for name, values in ratios.items()}
        kind = type(mechanism).__name__.removesuffix("Patch").replace("Size", "-size")
        words = f"{kind}, sigma {mechanism.noise_multiplier:g}, {mechanism.steps} steps"
        rows += [
            f"| {words} | {truth:.4g} | {name} | "
            + " | ".join(cells[slots][name] for slots in SIZES)
            + " |"
            for name in cells[SIZES[0]]
        ]
    head = "| pair | its epsilon | estimator | " + " | ".join(f"N = {n:,}" for n in SIZES) + " |"
    return "\n".join([head, "|---|---|---|---|---|", *rows])


def _spread(values: Sequence[float]) -> str:
    """Returns the median and the middle 80% of the values."""
    low, high = np.quantile(values, [0.1, 0.9])
    return f"{statistics.median(values):.2f} ({low:.2f} to {high:.2f})"


def study(repetitions: int, seed: int) -> str:
    """Runs everything; returns the Markdown that stands between the markers."""
    cases, few = list(coverage_cases()), max(1, repetitions // 4)
    total = sum(case.weight for case in cases) * repetitions + few * len(TIGHTNESS) * len(SIZES)
    console = Console(stderr=True)
    with Progress(console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("Games", total=total)

        def tick() -> None:
            progress.advance(task)

        covered = coverage_table(cases, repetitions, seed, tick)
        tight = tightness_table(few, seed, tick)
    return f"""**Coverage.** {SLOTS} slots a game, confidence 95%, delta {DELTA:g}
(0 for randomised response).

{covered}

**Tightness.** The bound over the epsilon of the pair played, q = 0.1, rho = 0.3, delta {DELTA:g},
confidence 95%, N slots in all: the median of {few} games (in brackets the middle 80%).

{tight}

Seed {seed}, `--repetitions {repetitions}`."""


def write(text: str) -> None:
    """Puts the tables between the markers of the document.

    Raises:
        ValueError: If the document does not hold both markers once, in order.
    """
    document = DOCUMENT.read_text(encoding="utf-8")
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT.name} must hold the markers {BEGIN} and {END}")
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Parses the command line, runs the study and writes or prints its tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.study", description=__doc__)
    parser.add_argument(
        "--repetitions", type=int, default=100, help="scale of the numbers of games"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all randomness")
    parser.add_argument("--print", action="store_true", help="print only, leave the document")
    arguments = parser.parse_args()
    if arguments.repetitions < 1:
        parser.error(f"--repetitions must be at least 1, got {arguments.repetitions}")
    start = time.perf_counter()
    text = study(arguments.repetitions, arguments.seed)
    if arguments.print:
        print(text)
    else:
        write(text)
    print(f"{time.perf_counter() - start:.0f} seconds", file=sys.stderr)


if __name__ == "__main__":
    main()
