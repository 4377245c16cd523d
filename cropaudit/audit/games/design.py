"""Games of independent trials that several adversaries score: shares of the level, and power.

Nothing here looks at scores. Thresholds are ranks among the nonmembers, so that plans also hold
where lost noise moves the law of all scores.

- The score that expects the configured noise has most of the level: the whole ROC against the
  family is the best test where the pipeline is as configured.
- The scores that expect less noise share the rest, one rank each: a score that expects the
  configured noise is a poor one where noise is missing.
"""

from collections.abc import Sequence
from dataclasses import replace

from cropaudit.accounting.bounds.accountant import epsilon_at
from cropaudit.accounting.mechanisms.descriptions import PatchMechanism
from cropaudit.accounting.privacy_loss.dominating_pairs import MixturePair, StepPair
from cropaudit.audit.games.score_law import attained
from cropaudit.audit.results.estimate_result import AttackEstimate
from cropaudit.audit.scores.tables import ScoreTable
from cropaudit.audit.verdict.estimate import attack_estimate
from cropaudit.estimators.evidence import Counts
from cropaudit.estimators.hypothesis import Hypothesis
from cropaudit.estimators.policies.methods import planned_rate
from cropaudit.estimators.trials.family import Family
from cropaudit.estimators.trials.power import FamilyTruth, smallest_found
from cropaudit.estimators.trials.rank_sum import RankSum
from cropaudit.estimators.trials.rate_test import likely_hits, p_value
from cropaudit.estimators.trials.thresholds import Ranks

__all__ = [
    "NOISE_FACTORS",
    "detectable_epsilon",
    "game_estimates",
    "game_hypotheses",
    "scoring_pairs",
]

NOISE_FACTORS = (1.0, 0.6, 0.3, 0.05)  # of the configured noise
_QUIET = 0.15  # share of the level for all scores that expect less noise

Sizes = tuple[int, int]


def scoring_pairs(mechanism: PatchMechanism) -> tuple[StepPair | MixturePair, ...]:
    """Returns the pairs by which slots are scored: the configured one, and ones with less noise."""
    noise = mechanism.noise_multiplier
    return tuple(mechanism.with_noise(noise * factor).game() for factor in NOISE_FACTORS)


def game_estimates(
    tables: Sequence[ScoreTable], hypothesis: Hypothesis
) -> tuple[AttackEstimate, ...]:
    """Returns what each adversary's scores of one game show, together at the share of the level.

    Args:
        tables: The scores that expect the configured noise, then those that expect less, if any.
        hypothesis: What is held against them.
    """
    scores = tables[0].scores
    sizes = len(scores.member), len(scores.nonmember)
    own, *quiet = game_hypotheses(hypothesis, sizes, len(tables))
    others = zip(tables[1:], quiet, strict=True)
    return (
        attack_estimate(tables[0], own, "audit"),
        *(attack_estimate(table, each, "deciding") for table, each in others),
    )


def game_hypotheses(hypothesis: Hypothesis, sizes: Sizes, count: int) -> tuple[Hypothesis, ...]:
    """Returns what is held against each adversary's scores, each at its share of the level.

    Args:
        hypothesis: What is held against the game.
        sizes: Numbers of members and of nonmembers.
        count: Of adversaries, the one that expects the configured noise first.
    """
    if count == 1:
        return (hypothesis,)
    first = replace(hypothesis, share=hypothesis.share * (1 - _QUIET), seed=hypothesis.seed)
    return first, *[_quiet(hypothesis, sizes, count - 1)] * (count - 1)


def detectable_epsilon(hypothesis: Hypothesis, sizes: Sizes) -> float | None:
    """Returns the smallest true epsilon at which a game contradicts its claim with 90% power.

    The truth is the configured mechanism at another noise multiplier, scored as `scoring_pairs` do.

    Args:
        hypothesis: What is held against the scores.
        sizes: Numbers of members and of nonmembers.

    Returns:
        The accountant's epsilon of that mechanism; none if hardly any noise would be missed.
    """
    family = _family(hypothesis)
    own, *others = scoring_pairs(family.mechanism)
    test, nulls = RankSum(family, *sizes), (hypothesis.free, hypothesis.game)
    curves = [null.curves for null in nulls if null is not None]
    share = hypothesis.corrected * (1 - _QUIET)
    quiet = _quiet(hypothesis, sizes, len(others))
    rank = max(1, round(_rate(quiet) * sizes[1]))
    planned = Counts(*sizes, 0, rank - 1, ranked=True)

    def heard(loudness: int) -> bool:
        truth = family.member(loudness)
        pair, steps = truth.game(), truth.compositions
        seen = test.likely(attained(own, pair, steps))
        if any(all(test.rejects(seen, curve, share) for curve in null) for null in curves):
            return True
        for other in others:
            counts, level = likely_hits(planned, attained(other, pair, steps)), quiet.corrected
            if any(all(p_value(counts, c, level) <= level for c in null) for null in curves):
                return True
        return False

    found = smallest_found(FamilyTruth(family), heard)
    return None if found is None else epsilon_at(family.member(found), family.delta)


def _quiet(hypothesis: Hypothesis, sizes: Sizes, count: int) -> Hypothesis:
    """Returns what is held against each of the scores that expect less noise."""
    rate = planned_rate(_family(hypothesis), sizes, hypothesis.level)
    share = hypothesis.share * _QUIET / count
    return replace(hypothesis, share=share, policy=Ranks((rate,)), seed=hypothesis.seed)


def _rate(hypothesis: Hypothesis) -> float:
    return hypothesis.policy.rates[0] if isinstance(hypothesis.policy, Ranks) else 0.5


def _family(hypothesis: Hypothesis) -> Family:
    if hypothesis.family is None:
        raise TypeError("a game is planned for a mechanism")
    return hypothesis.family
