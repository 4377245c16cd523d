"""The plan of a probe game: which tests are made, at which share of the level, and their power.

Nothing here looks at scores. Thresholds are ranks among the nonmembers, so the plan also holds
where lost noise moves the law of all scores.

- The whole ROC of the score that expects the configured noise, against the configured family: the
  best test where the pipeline is as configured, and most of the level.
- One rank of the scores that expect less noise: a score that expects the configured noise is a poor
  one where noise is missing.
- One rank for the bound that assumes nothing about the mechanism.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cropaudit.accounting.accountant import epsilon_at
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.accounting.pairs import StepPair
from cropaudit.audit.curve_tests import CountsTest, CurveTest, RankSumTest
from cropaudit.audit.estimators.evidence import Counts
from cropaudit.audit.estimators.family import Family, Order
from cropaudit.audit.estimators.methods import planned_rate
from cropaudit.audit.estimators.power import FamilyTruth, smallest_found
from cropaudit.audit.estimators.rank_sum import RankSum
from cropaudit.audit.estimators.ranks import hits_at_ranks, ranked_counts
from cropaudit.audit.estimators.rate_test import likely_hits
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.score_law import attained

__all__ = ["NOISE_FACTORS", "Plan", "detectable_epsilon", "plan_game", "scoring_pairs"]

NOISE_FACTORS = (1.0, 0.6, 0.3, 0.05)  # of the configured noise
_ROC, _QUIET, _EXACT = 0.75, 0.15, 0.1  # shares of the level


def scoring_pairs(mechanism: PatchMechanism) -> tuple[StepPair, ...]:
    """Returns the pairs by which slots are scored: the configured one, and ones with less noise."""
    noise = mechanism.noise_multiplier
    return tuple(mechanism.with_noise(noise * factor).pair() for factor in NOISE_FACTORS)


@dataclass(frozen=True, eq=False)
class Plan:
    """The tests of one probe game.

    Attributes:
        family: The configured mechanism at any noise; in the probe world A is the odd one out.
        roc: Ranks and weights of the test of the whole ROC.
        family_rank: Rank, among the nonmembers, at which the family is heard best.
        exact_rank: Rank at which the bound without a family is expected to be largest.
    """

    family: Family
    roc: RankSum
    family_rank: int
    exact_rank: int

    def tests(self, scores: Sequence[Scores], level: float) -> tuple[CurveTest, ...]:
        """Makes all tests of a game, together at ``level``.

        Args:
            scores: By scoring pair, as `scoring_pairs` orders them.
            level: Of the game.

        Returns:
            The test of the ROC, those of the other scores, and the one without a family.
        """
        statistic = self.roc.statistic(hits_at_ranks(scores[0], self.roc.ranks.tolist()))
        others = scores[1:]
        share = _QUIET * level / max(len(others), 1)
        quiet = [self._counted(item, self.family_rank, share) for item in others]
        exact = self._counted(scores[0], self.exact_rank, _EXACT * level)
        return RankSumTest(self.roc, statistic, _ROC * level), *quiet, exact

    def expected(self, truth: PatchMechanism, level: float) -> Iterator[CurveTest]:
        """Yields the tests as they come out, or better, in 90% of games each.

        Args:
            truth: What is played; slots are scored as configured.
            level: Of the game.
        """
        n, m = self.roc.members, self.roc.nonmembers
        pair, steps = truth.pair(), truth.compositions
        own, *others = scoring_pairs(self.family.mechanism)
        seen = attained(own, pair, steps)
        yield RankSumTest(self.roc, self.roc.likely(seen), _ROC * level)
        yield CountsTest(likely_hits(_at_rank(n, m, self.exact_rank), seen), _EXACT * level)
        for other in others:
            counts = likely_hits(_at_rank(n, m, self.family_rank), attained(other, pair, steps))
            yield CountsTest(counts, _QUIET * level / len(others))

    def _counted(self, scores: Scores, rank: int, level: float) -> CountsTest:
        return CountsTest(ranked_counts(scores, [rank])[0], level)


def plan_game(
    mechanism: PatchMechanism,
    delta: float,
    members: int,
    nonmembers: int,
    level: float,
    order: Order = "forward",
) -> Plan:
    """Plans a game from the configured mechanism and the numbers of trials alone.

    Args:
        mechanism: What is configured.
        delta: For epsilon.
        members: Trials of world A.
        nonmembers: Trials of world B.
        level: Of the game.
        order: "forward" where world A is P of the mechanism's pair, as in the probe; "claimed" for
            gradients of real models.
    """
    family = Family(mechanism, delta, order=order)
    trials = members, nonmembers
    own = planned_rate(family, trials, level)
    exact = planned_rate(family, trials, _EXACT * level, exact=True)
    roc = RankSum(family, members, nonmembers)
    return Plan(family, roc, max(1, round(own * nonmembers)), max(1, round(exact * nonmembers)))


def detectable_epsilon(
    plan: Plan, contradicts: Callable[[CurveTest], bool], level: float
) -> float | None:
    """Returns the smallest true epsilon that a game contradicts a claim at with 90% power.

    The truth is the configured mechanism at another noise multiplier.

    Args:
        plan: The game.
        contradicts: Whether a test contradicts the claim.
        level: Of the game.

    Returns:
        The accountant's epsilon of that mechanism; none if hardly any noise would be missed.
    """

    def heard(loudness: int) -> bool:
        return any(contradicts(test) for test in plan.expected(plan.family.member(loudness), level))

    found = smallest_found(FamilyTruth(plan.family), heard)
    return None if found is None else epsilon_at(plan.family.member(found), plan.family.delta)


def _at_rank(members: int, nonmembers: int, rank: int) -> Counts:
    return Counts(members, nonmembers, 0, rank - 1, ranked=True)
