"""The same scores through other tools, where they are installed: ``pip install '.[peers]'``."""

import contextlib
import io
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from cropaudit.accounting.mechanisms import PoissonPatch
from cropaudit.audit.estimators.clopper_pearson import ClopperPearson
from cropaudit.audit.estimators.family import Family
from cropaudit.audit.estimators.gaussian_mu import GaussianMu
from cropaudit.audit.estimators.guessing import Ends
from cropaudit.audit.estimators.joint_beta import JointBeta
from cropaudit.audit.estimators.joint_test import JointTest
from cropaudit.audit.estimators.methods import Method, RankSumMethod, ThresholdMethod, planned_rate
from cropaudit.audit.estimators.order_statistics import OrderStatistics, planned_share
from cropaudit.audit.estimators.run_fdp import RunFdp
from cropaudit.audit.estimators.run_methods import RunMethod
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.estimators.steinke import Steinke
from cropaudit.audit.estimators.thresholds import LADDER, Ranks
from cropaudit.audit.simulated import pair_scores, response_scores
from tests.study.law import curve_scores

__all__ = ["Tool", "peers_table", "tools"]

DELTA, LEVEL, SLOTS, MANY = 1e-5, 0.05, 1000, 100_000
MECHANISM = PoissonPatch(1.0, 0.1, 0.3, 100)
Bound = Callable[[Scores], float]


@dataclass(frozen=True)
class Tool:
    """One way to a bound.

    Attributes:
        package: Whose.
        name: What it is called there.
        bound: From scores to epsilon at `DELTA` and `LEVEL`.
    """

    package: str
    name: str
    bound: Bound


def tools() -> Iterator[Tool]:
    """Returns our estimators and those of the packages that are installed."""
    family = Family(MECHANISM, DELTA, order="forward")
    rate = planned_rate(family, (SLOTS // 2, SLOTS // 2), LEVEL)
    share = planned_share(SLOTS, family, LEVEL)
    ladder = Ranks(LADDER)
    ours: tuple[tuple[str, Method], ...] = (
        ("Clopper-Pearson, 5 ranks", ThresholdMethod(ClopperPearson(), ladder)),
        ("joint test, 5 ranks", ThresholdMethod(JointTest(), ladder)),
        ("joint beta, one rank", ThresholdMethod(JointBeta(), Ranks((rate,)))),
        ("Gaussian mu, one rank", ThresholdMethod(GaussianMu(), Ranks((rate,)))),
        ("whole ROC, f-DP", RankSumMethod(family)),
        ("one run", RunMethod(Steinke(), tuple(Ends(s) for s in (1.0, 0.2, 0.04)))),
        ("one run, f-DP", RunMethod(RunFdp(family), (Ends(0.05), Ends(0.02)))),
        ("one run, order statistics", RunMethod(OrderStatistics(family), (Ends(share),))),
    )
    for name, method in ours:
        yield Tool("cropaudit", name, lambda s, m=method: m.bound(s, DELTA, LEVEL, 0).epsilon)
    if find_spec("jax_privacy"):
        yield from _jax_privacy()
    if find_spec("privacy_estimates"):
        yield from _privacy_estimates(rate)
    if find_spec("opake"):
        yield from _opake()


def _jax_privacy() -> Iterator[Tool]:
    from jax_privacy.auditing import CanaryScoreAuditor

    def auditor(s: Scores) -> CanaryScoreAuditor:
        return CanaryScoreAuditor(s.member, s.nonmember)

    named: tuple[tuple[str, Bound], ...] = (
        (
            "epsilon_clopper_pearson, all thresholds",
            lambda s: auditor(s).epsilon_clopper_pearson(LEVEL, DELTA, one_sided=False),
        ),
        ("epsilon_from_gdp, all thresholds", lambda s: auditor(s).epsilon_from_gdp(LEVEL, DELTA)),
        ("epsilon_one_run, all thresholds", lambda s: auditor(s).epsilon_one_run(LEVEL, DELTA)),
        (
            "epsilon_one_run_fdp, all thresholds",
            lambda s: auditor(s).epsilon_one_run_fdp(LEVEL, DELTA),
        ),
    )
    for name, bound in named:
        yield Tool("jax-privacy", name, bound)


def _privacy_estimates(rate: float) -> Iterator[Tool]:
    from privacy_estimates import AttackResults, compute_eps_lo

    def joint_beta(s: Scores) -> float:
        # Their tool takes counts: the threshold is the one that our estimators take.
        cut = np.sort(s.nonmember)[-max(1, round(rate * len(s.nonmember)))]
        hits, alarms = s.counts(float(cut))
        misses, rest = len(s.member) - hits, len(s.nonmember) - alarms
        counts = AttackResults(FN=misses, FP=alarms, TN=rest, TP=hits)
        with contextlib.redirect_stdout(io.StringIO()):
            return float(compute_eps_lo(counts, DELTA, LEVEL, "joint-beta"))

    yield Tool("privacy-estimates", "joint-beta, one rank", joint_beta)


def _opake() -> Iterator[Tool]:
    from opake.api.auditing.one_run._estimate import OneRunEstimate
    from opake.api.auditing.one_run._roc import get_tn_fn_counts

    def estimate(s: Scores) -> OneRunEstimate:
        _, tn, fn = get_tn_fn_counts(s.member, s.nonmember)
        return OneRunEstimate(
            n_in=len(s.member),
            n_out=len(s.nonmember),
            thresholds=_,
            tn_counts=tn,
            fn_counts=fn,
            tp_counts=(fn[-1] - fn)[::-1],
            fp_counts=(tn[-1] - tn)[::-1],
            in_scores=s.member,
            out_scores=s.nonmember,
        )

    yield Tool(
        "opake-auditing",
        "eps_delta, best threshold",
        lambda s: estimate(s).eps_delta().epsilon_at(delta=DELTA, significance=LEVEL),
    )
    yield Tool(
        "opake-auditing",
        "gdp, best threshold",
        lambda s: estimate(s).gdp().epsilon_at(delta=DELTA, significance=LEVEL),
    )


def peers_table(repetitions: int, seed: int, tick: Callable[[str], None]) -> str:
    """Returns tightness, coverage and time of every tool on the same scores."""
    head = (
        f"| package | bound | tightness, n = {SLOTS:,} | above 0 where it is 0 | above 1 where it "
        f"is 1 | seconds at {MANY:,} |\n|---|---|---|---|---|---|"
    )
    family = Family(MECHANISM, DELTA, order="forward")
    lines = [head]
    large = curve_scores(family, (MANY // 2, MANY // 2), np.random.default_rng([seed, 9]))
    for tool in tools():
        ratios, null, one = [], 0, 0
        rng = np.random.default_rng([seed, 3])
        for _ in range(repetitions):
            size = int(rng.binomial(SLOTS, 0.5))
            trials = size, SLOTS - size
            ratios.append(_safe(tool, curve_scores(family, trials, rng)) / family.epsilon(0))
            null += (
                _safe(tool, pair_scores(PoissonPatch(1.0, 0.1, 0.3, 3), trials, rng, alike=True))
                > 0
            )
            jitter = response_scores(1.0, trials, rng)
            one += _safe(tool, jitter) > 1.0
        lines.append(
            f"| {tool.package} | {tool.name} | {statistics.median(ratios):.2f} "
            f"| {100 * null / repetitions:.1f}% | {100 * one / repetitions:.1f}% "
            f"| {_seconds(tool, large)} |"
        )
        tick(f"{tool.package}: {tool.name}")
    return "\n".join(lines)


def _seconds(tool: Tool, scores: Scores) -> str:
    """Returns the time of the second call: what is planned or computed once is kept."""
    for _ in range(2):
        start = time.perf_counter()
        found = _attempted(tool, scores)
    return "fails" if found is None else f"{time.perf_counter() - start:.3f}"


def _safe(tool: Tool, scores: Scores) -> float:
    """Returns the bound, or 0 where the tool fails."""
    return _attempted(tool, scores) or 0.0


def _attempted(tool: Tool, scores: Scores) -> float | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = float(tool.bound(scores))
    except Exception:  # another tool's failure is a finding, not a fault of this study
        return None
    return found if np.isfinite(found) else None
