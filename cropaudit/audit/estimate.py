"""From score tables to everything that the estimators say about them.

Which estimator decides is fixed beforehand: the mechanism's own where a mechanism is claimed, else
the joint test (or, for canaries of one run, their counterparts). It alone gives the corrected
headline and the p-values; all others are shown beside it, each at the stated confidence.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cropaudit.audit.estimate_result import AttackEstimate, Estimate, Summit
from cropaudit.audit.estimators.holm import holm
from cropaudit.audit.estimators.methods import Method
from cropaudit.audit.estimators.power import NOT_PROBED, ApproximateTruth, FamilyTruth, Truth
from cropaudit.audit.estimators.rate_test import approximate_dp
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.estimators.thresholds import Ranks
from cropaudit.audit.method_choice import choose_methods
from cropaudit.audit.question import Question
from cropaudit.audit.reach import could_contradict, trials_needed
from cropaudit.audit.readings import inversions, positions
from cropaudit.audit.result import Bound, Curve
from cropaudit.audit.score_tables import ScoreTable
from cropaudit.errors import InputError

__all__ = ["estimate"]

_POINTS = 200
_FEW = 8  # different scores, at most, that are called few


def estimate(tables: Sequence[ScoreTable], question: Question) -> Estimate:
    """Applies every estimator that fits to every attack, and corrects the headline for all.

    Args:
        tables: Scores, one table for each attack.
        question: What is asked of them.

    Raises:
        InputError: If there are no scores, or a world has none.
    """
    if not tables:
        raise InputError("scores must hold at least one attack, got none")
    if question.turned:
        return _told_from_b(tables, question)
    attacks = [_attack(table, question, len(tables)) for table in tables]
    known = [item.p_value for item in attacks if item.p_value is not None]
    if len(known) == len(attacks):
        attacks = [
            item.model_copy(update={"corrected_p_value": value})
            for item, value in zip(attacks, holm(known), strict=True)
        ]
    summit = _summit(tables, attacks, question)
    contradicted = _contradicted(attacks, question.level)
    return Estimate(
        delta=question.delta,
        confidence=question.confidence,
        trials=question.trials,
        seed=question.seed,
        power_holds=_truth(question).words,
        not_probed=NOT_PROBED,
        mechanism=None if question.mechanism is None else str(question.mechanism),
        claim=question.epsilon,
        claim_words=question.claim_words,
        claimed_roc=_claimed_roc(question),
        attacks=tuple(attacks),
        summit=summit,
        contradicted=contradicted,
        ground=_ground(attacks, question.level) if contradicted else "none",
    )


def _told_from_b(tables: Sequence[ScoreTable], question: Question) -> Estimate:
    """Answers a game whose members are world Q of the pair, told from the nonmembers: it is one.

    Low scores then speak for world P, as high ones do of a forward game.
    """
    turned = [replace(item, values=-item.values, member=~item.member) for item in tables]
    found = estimate(turned, replace(question, order="forward"))
    attacks = tuple(
        item.model_copy(
            update={
                "members": item.nonmembers,
                "nonmembers": item.members,
                "roc": _curve(*table.scores.roc()),
                "positions": tuple(
                    place.model_copy(
                        update={"members": place.nonmembers, "nonmembers": place.members}
                    )
                    for place in item.positions
                ),
            }
        )
        for item, table in zip(found.attacks, tables, strict=True)
    )
    return found.model_copy(update={"attacks": attacks, "claimed_roc": _claimed_roc(question)})


def _ground(attacks: Sequence[AttackEstimate], level: float) -> str:
    """Returns what a contradiction assumes; positions are not asked again."""
    share = level / 2 if any(item.positions for item in attacks) else level
    values = [item.free_p_value for item in attacks if item.free_p_value is not None]
    free = len(values) == len(attacks) and min(holm(values)) <= share
    return "assumption-free" if free else "given the game"


def _contradicted(attacks: Sequence[AttackEstimate], level: float) -> bool:
    """Whether the claim is, by all trials of an attack or at a position, corrected for both.

    Half of the level goes to positions, where any are known, as in the headline.
    """
    share = level / 2 if any(item.positions for item in attacks) else level
    pooled = [item.corrected_p_value for item in attacks]
    local = [place.p_value for item in attacks for place in item.positions]
    # At a position p-values are corrected for the positions of its own attack alone.
    values = [p for p in pooled if p is not None]
    values += [len(attacks) * p for p in local if p is not None]
    return any(value <= share for value in values)


def _attack(table: ScoreTable, question: Question, attacks: int) -> AttackEstimate:
    scores = table.scores
    trials = len(scores.member), len(scores.nonmember)
    choice = choose_methods(question, trials)
    given = question.delta, question.level
    fpr, tpr = scores.roc()
    could = could_contradict(question, trials, question.level / attacks)
    return AttackEstimate(
        attack=table.attack,
        members=trials[0],
        nonmembers=trials[1],
        auc=scores.auc(),
        roc=_curve(fpr, tpr),
        bounds=tuple(_bound(method, scores, question) for method in choice.methods),
        p_value=None
        if question.null is None
        else choice.primary.p_value(scores, question.null, *given, question.seed),
        corrected_p_value=None,
        could_contradict=could,
        trials_needed=None
        if could is not False
        else trials_needed(question, sum(trials), question.level / attacks),
        free_p_value=_free_p_value(choice.primary, scores, question),
        inversions=inversions(scores, question),
        positions=positions(table, question, question.level / 2 / attacks)
        if table.positions
        else (),
        skipped=choice.skipped,
    )


def _bound(method: Method, scores: Scores, question: Question) -> Bound:
    found = method.bound(scores, question.delta, question.level, question.seed)
    trials = len(scores.member), len(scores.nonmember)
    note = "; ".join(text for text in (_ties(method, scores), found.note) if text)
    detectable = _detectable(method, trials, question)
    return found.model_copy(update={"detectable": detectable, "note": note})


def _ties(method: Method, scores: Scores) -> str:
    """Says where a cut at a rank is likely to fall into a tie, which then tells nothing."""
    if scores.alike:
        return "all scores are alike"
    ranks = isinstance(getattr(method, "policy", None), Ranks)
    values = len(np.unique(np.concatenate([scores.member, scores.nonmember])))
    if not ranks or values > _FEW:
        return ""
    return f"scores of {values} values: a threshold given beforehand may tell more"


def _free_p_value(primary: Method, scores: Scores, question: Question) -> float | None:
    given = question.delta, question.level, question.seed
    if not question.claimed_curves:
        return None
    if primary.validity == "exact" and question.claim is not None:
        return primary.p_value(scores, question.claim, *given)
    return primary.curve_p_value(scores, question.claimed_curves, *given)


def _detectable(method: Method, trials: tuple[int, int], question: Question) -> float | None:
    """Returns what a method would find; nothing is said of those that promise no level."""
    if method.validity not in ("exact", "model-based"):
        return None
    return method.detectable(trials, _truth(question), 0.0, question.level)


def _truth(question: Question) -> Truth:
    family = question.family
    return ApproximateTruth(question.delta) if family is None else FamilyTruth(family)


def _summit(
    tables: Sequence[ScoreTable], attacks: Sequence[AttackEstimate], question: Question
) -> Summit:
    """Returns the largest bound, corrected for all attacks, and for all positions if known.

    Half of an attack's share of the level goes to its positions, where they are known.
    """
    found: list[tuple[Bound, str, str | None]] = []
    for table, attack in zip(tables, attacks, strict=True):
        primary = choose_methods(question, (attack.members, attack.nonmembers)).primary
        share = question.level / len(tables) / (2 if attack.positions else 1)
        pooled = attack.bounds[0]  # the deciding one, at the whole level
        if share < question.level:
            pooled = primary.bound(table.scores, question.delta, share, question.seed)
        found.append((pooled, attack.attack, None))
        for place in attack.positions:
            alone = pooled.model_copy(update={"epsilon": place.simultaneous})
            found.append((alone, attack.attack, place.position))
    best, name, position = max(found, key=lambda item: item[0].epsilon)
    searched = " and all positions" if any(item.positions for item in attacks) else ""
    many = len(tables) > 1 or searched
    attacks_words = "one attack" if len(tables) == 1 else f"{len(tables)} attacks"
    return Summit(
        epsilon=best.epsilon,
        attack=name,
        estimator=best.estimator,
        validity=best.validity,
        correction=f"corrected for {attacks_words}{searched}" if many else attacks_words,
        position=position,
    )


def _claimed_roc(question: Question) -> Curve | None:
    fpr = np.concatenate([[0.0], np.geomspace(1e-6, 1.0, _POINTS)])
    if question.claim is not None:
        return _curve(fpr, approximate_dp(question.claim, question.delta)(fpr))
    if question.family is None:
        return None
    return _curve(fpr, np.max([curve(fpr) for curve in question.family.played(0)], axis=0))


def _curve(fpr: np.ndarray, tpr: np.ndarray) -> Curve:
    if len(fpr) > _POINTS:
        wanted = np.concatenate([np.geomspace(1e-5, 1, _POINTS), np.linspace(0, 1, _POINTS)])
        at = np.unique(np.searchsorted(fpr, wanted, side="right") - 1)
        at = np.unique(np.concatenate([[0, len(fpr) - 1], at[at >= 0]]))
        fpr, tpr = fpr[at], tpr[at]
    return Curve(fpr=tuple(fpr.tolist()), tpr=tuple(tpr.tolist()))
