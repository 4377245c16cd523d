"""From score tables to bounds, p-values, the headline and whether the claim is contradicted.

This is the one way from scores to a decision: audits, attacks on a saved run and files of scores
go it alike. Which estimator decides is fixed beforehand (`registry.plan`). It alone gives the
corrected bound and the p-values; all others are shown beside it, each at the stated confidence. One
test of several nulls needs no correction: where the smaller one is true, so is the larger one.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from cropaudit.audit.results.estimate_result import AttackEstimate, Estimate, Ground
from cropaudit.audit.results.result import Bound, Curve, Headline
from cropaudit.audit.scores.tables import ScoreTable
from cropaudit.audit.verdict.places import parameter_limits, positions
from cropaudit.audit.verdict.reach import could_contradict, trials_needed
from cropaudit.errors import InputError
from cropaudit.estimators.holm import holm
from cropaudit.estimators.hypothesis import Hypothesis
from cropaudit.estimators.null import Null
from cropaudit.estimators.policies.methods import HypothesisTest
from cropaudit.estimators.registry import plan
from cropaudit.estimators.scores import Scores
from cropaudit.estimators.search import last_epsilon
from cropaudit.estimators.trials.power import NOT_PROBED

__all__ = ["attack_estimate", "contradicts", "estimate", "headline_of", "refutes", "thinned"]

Detail = Literal["all", "audit", "deciding"]

_POINTS = 200
_FEW = 8  # different scores, at most, that are called few


def estimate(tables: Sequence[ScoreTable], hypothesis: Hypothesis) -> Estimate:
    """Applies every estimator that fits to every attack, and corrects the headline for all.

    Args:
        tables: Scores, one table for each attack.
        hypothesis: What is held against them; the attacks divide its share of the level evenly.

    Raises:
        InputError: If there are no scores, or a world has none.
    """
    if not tables:
        raise InputError("scores must hold at least one attack, got none")
    each = replace(hypothesis, share=hypothesis.share / len(tables), seed=hypothesis.seed)
    attacks = _with_holm([attack_estimate(table, each) for table in tables], hypothesis)
    family = hypothesis.family
    return Estimate(
        delta=hypothesis.delta,
        confidence=hypothesis.confidence,
        trials=hypothesis.trials,
        order=str(hypothesis.order),
        seed=hypothesis.seed,
        power_holds=hypothesis.truth.words,
        not_probed=NOT_PROBED,
        mechanism=None if hypothesis.mechanism is None else str(hypothesis.mechanism),
        claim=hypothesis.epsilon,
        claim_stated=hypothesis.claim is not None or hypothesis.free_null is not None,
        game_epsilon=None if family is None else family.epsilon(0),
        claimed_roc=_claimed_roc(hypothesis),
        attacks=attacks,
        headline=headline_of(attacks, hypothesis),
        contradicted=any(contradicts(item, hypothesis.level) for item in attacks),
        ground=_ground(attacks, hypothesis.level),
    )


def attack_estimate(
    table: ScoreTable, hypothesis: Hypothesis, detail: Detail = "all"
) -> AttackEstimate:
    """Returns what one attack's scores show.

    Args:
        table: The scores.
        hypothesis: What is held against them; its share of the level is this attack's.
        detail: "all"; "audit": the estimators that an audit's report shows, without power, limits
            and what could have been shown; or "deciding": the deciding one alone.
    """
    if hypothesis.turned:
        return _told_from_b(table, hypothesis, detail)
    scores, seed = table.scores, hypothesis.seed
    sizes = len(scores.member), len(scores.nonmember)
    planned, level = plan(hypothesis, sizes), hypothesis.corrected
    # Half of an attack's share of the level goes to its positions, where they are known.
    pooled = level / 2 if table.positions else level
    test = planned.deciding
    free, game = hypothesis.free, hypothesis.game
    free_p = None if free is None else test.p_value(scores, free, pooled, seed)
    game_p = free_p
    if game is not None and game is not free:
        game_p = test.p_value(scores, game, pooled, seed)
    whole = detail == "all"
    could = could_contradict(hypothesis, sizes, level) if whole else None
    shown = {"all": planned.tests, "audit": planned.audited, "deciding": planned.tests[:1]}[detail]
    bounds = tuple(_bound(item, scores, hypothesis, whole) for item in shown)
    alone = pooled == hypothesis.level
    return AttackEstimate(
        attack=table.attack,
        members=sizes[0],
        nonmembers=sizes[1],
        auc=scores.auc(),
        roc=thinned(*scores.roc()),
        bounds=bounds,
        corrected=bounds[0] if alone else test.bound(scores, hypothesis.delta, pooled, seed),
        share=hypothesis.share,
        p_value=game_p,
        corrected_p_value=game_p,
        could_contradict=could,
        trials_needed=None if could is not False else trials_needed(hypothesis, sum(sizes), level),
        free_p_value=free_p,
        free_epsilon=_free_epsilon(test, scores, hypothesis, pooled)
        if free_p is not None and free_p <= pooled
        else None,
        limits=parameter_limits(scores, hypothesis) if whole else (),
        positions=positions(table, hypothesis, level / 2) if table.positions else (),
        skipped=planned.skipped,
    )


def contradicts(item: AttackEstimate, level: float) -> bool:
    """Whether an attack contradicts the claim, by all its trials or at a position.

    Args:
        item: The attack.
        level: Of all attacks together.
    """
    own = level * item.share
    pooled = own / 2 if item.positions else own
    values = [item.p_value is not None and item.p_value <= pooled]
    values += [place.p_value is not None and place.p_value <= own / 2 for place in item.positions]
    return any(values) or refutes(item, level)


def refutes(item: AttackEstimate, level: float) -> bool:
    """Whether all trials of an attack contradict the claim whatever ran."""
    pooled = level * item.share / (2 if item.positions else 1)
    return item.free_p_value is not None and item.free_p_value <= pooled


def headline_of(attacks: Sequence[AttackEstimate], hypothesis: Hypothesis) -> Headline:
    """Returns the largest corrected bound, of all trials of an attack or at a position."""
    found: list[tuple[Bound, float, str, str | None]] = []
    for attack in attacks:
        best = attack.corrected
        found.append((best, best.epsilon, attack.attack, None))
        found += [(best, p.simultaneous, attack.attack, p.position) for p in attack.positions]
    best, epsilon, name, position = max(found, key=lambda item: item[1])
    searched = any(item.positions for item in attacks)
    many = len({item.attack for item in attacks})  # one may be scored by several adversaries
    count = "one attack" if many == 1 else f"{many} attacks"
    words = f"corrected for {count}" if many > 1 or searched else count
    return Headline(
        epsilon_lower=epsilon,
        delta=hypothesis.delta,
        confidence=hypothesis.confidence,
        attack=name,
        estimator=best.estimator,
        validity=best.validity,
        correction=words + (" and all positions" if searched else ""),
        position=position,
    )


def thinned(fpr: np.ndarray, tpr: np.ndarray) -> Curve:
    """Keeps points evenly spread in ln FPR and in FPR: what a plot can show."""
    if len(fpr) > _POINTS:
        wanted = np.concatenate([np.geomspace(1e-5, 1, _POINTS), np.linspace(0, 1, _POINTS)])
        at = np.unique(np.searchsorted(fpr, wanted, side="right") - 1)
        at = np.unique(np.concatenate([[0, len(fpr) - 1], at[at >= 0]]))
        fpr, tpr = fpr[at], tpr[at]
    return Curve(fpr=tuple(fpr.tolist()), tpr=tuple(tpr.tolist()))


def _told_from_b(table: ScoreTable, hypothesis: Hypothesis, detail: Detail) -> AttackEstimate:
    """Answers a game whose members are world Q of the pair, told from the nonmembers: it is one.

    Low scores then speak for world P, as high ones do of a forward game.
    """
    turned = replace(table, values=-table.values, member=~table.member)
    forward = replace(hypothesis, order="forward", seed=hypothesis.seed)
    found = attack_estimate(turned, forward, detail)
    places = tuple(
        item.model_copy(update={"members": item.nonmembers, "nonmembers": item.members})
        for item in found.positions
    )
    swapped = {"members": found.nonmembers, "nonmembers": found.members, "positions": places}
    return found.model_copy(update={**swapped, "roc": thinned(*table.scores.roc())})


def _with_holm(
    attacks: Sequence[AttackEstimate], hypothesis: Hypothesis
) -> tuple[AttackEstimate, ...]:
    known = [item.p_value for item in attacks if item.p_value is not None]
    if len(known) < len(attacks):
        return tuple(attacks)
    return tuple(
        item.model_copy(update={"corrected_p_value": min(1.0, value / hypothesis.share)})
        for item, value in zip(attacks, holm(known), strict=True)
    )


def _ground(attacks: Sequence[AttackEstimate], level: float) -> Ground:
    if any(refutes(item, level) for item in attacks):
        return "assumption-free"
    return "given the game" if any(contradicts(item, level) for item in attacks) else "none"


def _bound(test: HypothesisTest, scores: Scores, hypothesis: Hypothesis, whole: bool) -> Bound:
    delta, level = hypothesis.delta, hypothesis.level
    found = test.bound(scores, delta, level, hypothesis.seed)
    values = len(np.unique(np.concatenate([scores.member, scores.nonmember])))
    # A cut at a rank is likely to fall into a tie of so few values, which then tells nothing.
    ranked = found.cut is not None and found.cut.kind == "ranks"
    few = values if values == 1 or (ranked and values <= _FEW) else None
    detectable = None
    # Nothing is said of the power of estimators that promise no level.
    if whole and test.validity in ("exact", "model-based"):
        sizes = len(scores.member), len(scores.nonmember)
        detectable = test.detectable(sizes, hypothesis.truth, level)
    return found.model_copy(update={"detectable": detectable, "few_values": few})


def _free_epsilon(
    test: HypothesisTest, scores: Scores, hypothesis: Hypothesis, level: float
) -> float:
    """Returns the largest epsilon that the deciding test rejects whatever ran."""

    def rejected(epsilon: float) -> bool:
        null = Null.region(epsilon, hypothesis.delta)
        value = test.p_value(scores, null, level, hypothesis.seed)
        return value is not None and value <= level

    return last_epsilon(rejected, tolerance=1e-3)


def _claimed_roc(hypothesis: Hypothesis) -> Curve | None:
    fpr = np.concatenate([[0.0], np.geomspace(1e-6, 1.0, _POINTS)])
    null = hypothesis.free if hypothesis.claim is not None else hypothesis.game
    if null is None:
        return None
    return thinned(fpr, np.max([curve(fpr) for curve in null.curves], axis=0))
