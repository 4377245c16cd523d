"""Black-box games with reference models: below the claim, above chance, and blind to nothing."""

import dataclasses
from functools import lru_cache

import numpy as np
import pytest

from cropaudit.attacks.black_box import ATTACKS
from cropaudit.audit import reference_game as module
from cropaudit.audit.claims import state_claim
from cropaudit.audit.config import AuditConfig
from cropaudit.audit.estimators.scores import Scores
from cropaudit.audit.reference_game import needs_references, play_reference, reference_game
from cropaudit.audit.subject import Subject, decoys_of, prepare_subject
from cropaudit.audit.training_plan import training_spec
from cropaudit.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


@lru_cache
def subject(slots: int = 1, design: str = "label-only", **references: object) -> Subject:
    values = {
        "seed": 5,
        "patch": "8x8",
        "data": {
            "images": 5,
            "validation": 1,
            "size": "40x40",
            "foreground": ["road", "pavement"],
        },
        "crop": {"size": "16x16"},
        "training": {
            "model": "tiny-net",
            "batch": 4,
            "steps": 12,
            "noise_multiplier": 1.5,
            "max_grad_norm": 0.1,
            "learning_rate": 0.1,
        },
        "canary": {"design": design},
        "game": {
            "attacks": ["probe", "reference"],
            "canary_slots": slots,
            "probe_slots": 400,
            "control_slots": 400,
        },
        "references": {
            "targets": 60,
            "models": 24,
            "windows": 3,
            "initial": "level",
            **references,
        },
    }
    return prepare_subject(AuditConfig.model_validate(values))


def quiet(audited: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loses the noise of every run."""
    spec = dataclasses.replace(training_spec(audited), noise_multiplier=0.0)
    monkeypatch.setattr(module, "training_spec", lambda _: spec)


@pytest.mark.parametrize("slots", [1, 3])
def test_an_honest_game_stays_below_the_claim(slots: int) -> None:
    """Bounds at 95%; seeded. One canary a run is a trial; several are guessed together."""
    audited = subject(slots)
    done: list[int] = []
    played = reference_game(audited, done.append)
    assert done[-1] == 84
    assert played.attack.members + played.attack.nonmembers == 60 * slots
    assert max(bound.epsilon for bound in played.attack.bounds) < audited.bound.epsilon
    claim = state_claim(audited.config.claim, audited.mechanism, audited.config.game.delta)
    assert not any(claim.refuted_by(test) for test in played.evidence.tests)
    assert reference_game(audited, None).scores == played.scores


def test_positive_control_a_claim_of_1_is_refuted_where_noise_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The study plays a claim of 8 with a thousand runs; sixty suffice for one of 1."""
    audited = subject()
    quiet(audited, monkeypatch)
    played = reference_game(audited, None)
    stated = audited.config.claim.model_copy(update={"epsilon": 1.0})
    claim = state_claim(stated, audited.mechanism, audited.config.game.delta)
    assert any(claim.refuted_by(test) for test in played.evidence.tests)
    assert played.attack.auc > 0.8


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_every_attack_plays(attack: str, slots: int) -> None:
    if (attack, slots) == ("quantile", 1):
        with pytest.raises(ValueError, match="canary_slots must be at least 2 for quantile"):
            subject(slots, attack=attack)
        return
    audited = subject(slots, attack=attack, targets=20, models=12)
    scores, coins = play_reference(audited, training_spec(audited))
    assert scores.shape == coins.shape == (20, slots)
    assert np.isfinite(scores).all()
    assert needs_references(attack) == ("references" in ATTACKS[attack].needs)


def test_null_equal_contents_are_not_told_apart() -> None:
    """200 coins of contents that are alike: an AUC beyond five deviations has a chance of 1e-6."""
    audited = subject(1, targets=200)
    slot = audited.slots[0]
    same = dataclasses.replace(slot, texture_a=slot.texture_b, labels_a=slot.labels_b)
    scores, coins = play_reference(
        dataclasses.replace(audited, slots=(same,)), training_spec(audited)
    )
    found = Scores.labelled(scores.ravel(), coins.ravel())
    assert abs(found.auc() - 0.5) <= 5 * found.auc_deviation()


def test_decoys_follow_the_law_of_the_slots_and_are_none_of_them() -> None:
    audited = subject(3)
    empty, slots = decoys_of(audited)
    assert len(slots) == 3
    assert len(empty) == len(audited.empty)
    assert [slot.design for slot in slots] == [slot.design for slot in audited.slots]
    own = [slot.position for slot in audited.slots]
    assert [slot.position for slot in slots] != own


def test_a_slot_is_needed() -> None:
    bare = dataclasses.replace(subject(), slots=())
    with pytest.raises(InputError, match="canary slots must be at least 1, got 0"):
        play_reference(bare, training_spec(subject()))
