"""Games of many real models: nothing is found where nothing is, and lost noise is."""

import dataclasses
from functools import lru_cache

import numpy as np
import pytest

from cropaudit.audit import two_world_game as two_world_module
from cropaudit.audit.claims import state_claim
from cropaudit.audit.config import AuditConfig
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.result import Verdict
from cropaudit.audit.subject import Subject, prepare_subject
from cropaudit.audit.training_plan import training_spec
from cropaudit.audit.two_world_game import Runs, play_two_world, two_world_game
from cropaudit.audit.verdict import decide
from cropaudit.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")

MODELS = 60


@lru_cache
def subject(sampler: str = "poisson", **two_world: object) -> Subject:
    values = {
        "seed": 3,
        "patch": "6x6",
        "data": {
            "images": 5,
            "validation": 1,
            "size": "24x28",
            "foreground": ["road", "pavement"],
        },
        "crop": {"size": "16x16"},
        "training": {
            "model": "tiny-net",
            "sampler": sampler,
            "batch": 3,
            "steps": 12,
            "noise_multiplier": 1.0,
            "max_grad_norm": 0.1,
            "learning_rate": 0.2,
        },
        "canary": {"design": "label-only", "background": "sparse", "texture": "natural"},
        "game": {
            "attacks": ["probe", "two-world"],
            "canary_slots": 1,
            "probe_slots": 400,
            "control_slots": 400,
        },
        "two_world": {"models": MODELS, "hits": 3, "misses": 1, **two_world},
    }
    return prepare_subject(AuditConfig.model_validate(values))


def verdict(audited: Subject, **claim: object) -> Verdict:
    changed = audited.config.claim.model_copy(update=claim)
    stated = state_claim(changed, audited.mechanism, audited.config.game.delta)
    played = two_world_game(audited, None)
    return decide(stated, [played.evidence], (), stated.epsilon, 2.0)


def test_the_whole_game_is_heard_and_stays_below_the_claim() -> None:
    audited = subject()
    done: list[int] = []
    played = two_world_game(audited, done.append)
    assert done == [100, 120]
    entry = played.attack
    assert (entry.members, entry.nonmembers) == (MODELS, MODELS)
    # The deviation of an AUC by chance is 0.053 here.
    assert entry.auc > 0.75
    family, exact = entry.bounds
    assert (family.validity, exact.validity) == ("model-based", "exact")
    # Seeded; true of 95% of all seeds at least.
    assert 0 < family.epsilon < audited.bound.epsilon
    assert exact.epsilon <= family.epsilon
    assert not played.evidence.in_game
    again = two_world_game(audited, None)
    assert again.scores == played.scores


def test_positive_control_a_claim_of_8_is_refuted_where_noise_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The noise of the configuration gives epsilon 8; what runs adds none of it."""
    audited = subject(models=25)
    spec = training_spec(audited)
    quiet = dataclasses.replace(spec, noise_multiplier=0.0)
    monkeypatch.setattr(two_world_module, "training_spec", lambda _: quiet)
    found = verdict(audited, epsilon=8.0)
    assert (found.status, found.ground) == ("violation", "assumption-free")


def test_runs_without_any_noise_are_told_apart() -> None:
    values, member = play_two_world(subject(), Runs(20, 1, noise_multiplier=0.0))
    scores = Scores.labelled(values[-1], member)
    assert scores.auc() > 0.95


def test_null_control_equal_worlds_give_a_bound_of_nothing() -> None:
    values, member = play_two_world(subject(), Runs(20, 1, different=False))
    assert np.abs(values).max() < 1e-9
    assert member.sum() == 20


def test_an_honest_claim_is_not_refuted() -> None:
    assert verdict(subject()).status != "violation"


@pytest.mark.parametrize("sampler", ["fixed", "shuffle"])
def test_a_known_background_would_give_the_target_away(sampler: str) -> None:
    with pytest.raises(ValueError, match=f"adversary must be unknown under {sampler}, got known"):
        subject(sampler)
    audited = subject(sampler, adversary="unknown")
    own = audited.config.two_world.model_copy(update={"adversary": "known"})
    config = audited.config.model_copy(update={"two_world": own})
    with pytest.raises(InputError, match=f"adversary under {sampler} must be unknown"):
        play_two_world(dataclasses.replace(audited, config=config), Runs(20, 1))


@pytest.mark.parametrize("sampler", ["fixed", "shuffle"])
def test_other_samplers_play_with_an_unknown_background(sampler: str) -> None:
    values, member = play_two_world(subject(sampler, adversary="unknown"), Runs(20, 1))
    assert values.shape == (4, 40)
    assert np.isfinite(values).all()
    assert member.sum() == 20


@pytest.mark.parametrize("adversary", ["known", "unknown"])
def test_ensembles_are_no_part_of_the_game(adversary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is trained together, scores are the same: nothing is shared within an ensemble.

    What an ensemble alone shared, such as windows tried, would make its trials dependent.
    """
    audited = subject(adversary=adversary, initial="random")
    values, member = play_two_world(audited, Runs(20, 1))
    monkeypatch.setattr(two_world_module, "_TOGETHER", 7)
    apart, same = play_two_world(audited, Runs(20, 1))
    assert np.array_equal(member, same)
    assert np.allclose(values, apart, atol=1e-2 * np.ptp(values))
    # Every ensemble holds both worlds.
    assert 0 < member[:7].sum() < 7


def test_null_runs_of_one_world_are_not_told_apart() -> None:
    """All runs hold B and half are called A: an AUC beyond four deviations has a chance of 6e-5."""
    audited = subject()
    values, member = play_two_world(audited, Runs(60, 4, different=False))
    assert not values.any() or np.abs(values).max() < 1e-9
    game = two_world_module._Game(audited, Runs(60, 4))
    scores = np.concatenate(
        [game.play(first, np.zeros(40, dtype=bool))[0] for first in (0, 40, 80)]
    )
    found = Scores.labelled(scores, member)
    assert abs(found.auc() - 0.5) <= 4 * found.auc_deviation()


def test_a_target_is_needed() -> None:
    bare = dataclasses.replace(subject(), slots=())
    with pytest.raises(InputError, match="canary slots must be at least 1, got 0"):
        play_two_world(bare, Runs(20, 1))
