"""Coverage, tightness and one-run tightness of every estimator, as Markdown tables."""

import statistics
from collections.abc import Callable, Sequence

import numpy as np

from cropaudit.accounting.mechanisms import FixedSizePatch, PatchMechanism, PoissonPatch
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.method_choice import choose_methods
from cropaudit.audit.question import Question, Trials
from cropaudit.audit.selftest import Coverage, coverages
from tests.study.law import curve_scores

__all__ = ["DELTA", "LEVEL", "PAIRS", "coverage_table", "one_run_table", "tightness_table"]

DELTA, LEVEL = 1e-5, 0.05
SLOTS = 1000  # of a coverage game
PAIRS: tuple[PatchMechanism, ...] = (
    PoissonPatch(1.0, 0.1, 0.3, 100),
    PoissonPatch(0.6, 0.1, 0.3, 100),
    PoissonPatch(1.0, 0.1, 0.3, 1000),
    PoissonPatch(0.6, 0.1, 0.3, 1000),
    FixedSizePatch(1.0, 0.1, 0.3, 100),
    FixedSizePatch(1.0, 0.1, 0.3, 1000),
)
SIZES = (1000, 10_000, 100_000)  # trials of each world
CANARIES = (1000, 10_000)
_SHOWN = (
    *("clopper-pearson", "joint-test", "gaussian-mu", "mechanism-f-dp", "rank-sum-f-dp"),
    "e-process",
)

_LEFT = {"joint-beta", "katz"}  # promise no level

Tick = Callable[[str], None]


def coverage_table(repetitions: int, seed: int, tick: Tick) -> str:
    """Plays the games of ``cropaudit selftest``; returns a Markdown table."""

    def stage(title: str, total: int) -> Callable[[int], None]:
        del total
        tick(title)
        return lambda done: None

    found = coverages(SLOTS, repetitions, seed, stage)
    head = (
        "| estimator | class | game | true epsilon | games | bound above it | 95% interval "
        "| nominal |\n|---|---|---|---|---|---|---|---|"
    )
    return "\n".join([head, *(_coverage_row(item) for item in found)])


def _coverage_row(item: Coverage) -> str:
    low, high = (100 * limit for limit in item.interval)
    promised = f"{100 * item.level:g}%" if item.judged else "no promise"
    share = 100 * item.above / item.games
    return (
        f"| {item.estimator} | {item.validity} | {item.game} | {item.truth:.3g} | {item.games} "
        f"| {share:.1f}% | {low:.1f}% to {high:.1f}% | {promised} |"
    )


def tightness_table(repetitions: int, seed: int, tick: Tick) -> str:
    """Returns the bound over the pair's epsilon for independent trials."""
    head = "| pair | its epsilon | estimator | " + " | ".join(f"N = {n:,}" for n in SIZES) + " |"
    lines = [head, "|" + "---|" * (3 + len(SIZES))]
    for number, mechanism in enumerate(PAIRS):
        cells = [
            _ratios(mechanism, "independent", (n, n), repetitions, [seed, 1, number, n], tick)
            for n in SIZES
        ]
        lines += _rows(mechanism, cells, _SHOWN)
    return "\n".join(lines)


def one_run_table(repetitions: int, seed: int, tick: Tick) -> str:
    """Returns the bound over the pair's epsilon for independent canaries of one run."""
    head = "| pair | its epsilon | estimator | " + " | ".join(f"n = {n:,}" for n in CANARIES) + " |"
    lines = [head, "|" + "---|" * (3 + len(CANARIES))]
    for number, mechanism in enumerate(PAIRS[:1]):
        cells = [
            _ratios(mechanism, "one-run", (n // 2, n // 2), repetitions, [seed, 2, number, n], tick)
            for n in CANARIES
        ]
        lines += _rows(mechanism, cells, tuple(cells[0]))
    return "\n".join(lines)


def _rows(
    mechanism: PatchMechanism, cells: Sequence[dict[str, list[float]]], names: Sequence[str]
) -> list[str]:
    truth = Family(mechanism, DELTA).epsilon(0)
    kind = "fixed-size" if mechanism.kind == "fixed" else "Poisson"
    words = f"{kind}, sigma {mechanism.noise_multiplier:g}, {mechanism.steps} steps"
    return [
        f"| {words} | {truth:.4g} | {name} | " + " | ".join(_spread(c[name]) for c in cells) + " |"
        for name in names
    ]


def _ratios(
    mechanism: PatchMechanism,
    trials: Trials,
    size: tuple[int, int],
    repetitions: int,
    seed: Sequence[int],
    tick: Tick,
) -> dict[str, list[float]]:
    asked = Question(delta=DELTA, mechanism=mechanism, order="forward", trials=trials)
    family = asked.family
    assert family is not None
    shown = [method for method in choose_methods(asked, size).methods if method.name not in _LEFT]
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    for _ in range(repetitions):
        members = int(rng.binomial(sum(size), 0.5)) if trials == "one-run" else size[0]
        scores = curve_scores(family, (members, sum(size) - members), rng)
        for method in shown:
            bound = method.bound(scores, DELTA, LEVEL, int(rng.integers(2**31)))
            found.setdefault(method.name, []).append(bound.epsilon / family.epsilon(0))
    tick(f"{mechanism.kind}, {size[0]:,} a world")
    return found


def _spread(values: Sequence[float]) -> str:
    """Returns the median and the middle 80% of the values."""
    low, high = np.quantile(values, [0.1, 0.9])
    return f"{statistics.median(values):.2f} ({low:.2f} to {high:.2f})"
