"""Which data a claim is about, and audits of pipelines that have lost their noise."""

import math
from typing import Any

import pytest

from cropaudit.accounting.accountant import epsilon_at
from cropaudit.accounting.mechanisms import PoissonPatch
from cropaudit.audit.claims import state_claim
from cropaudit.audit.config import AuditConfig, load_config
from cropaudit.audit.declared import declare
from cropaudit.audit.design import scoring_pairs
from cropaudit.audit.real_model import audit_model
from cropaudit.audit.stages import silent
from cropaudit.audit.subject import decoys_of, prepare_subject
from cropaudit.errors import InputError
from cropaudit.training.canaries import fill_slots

SMALL: dict[str, Any] = {
    "patch": "8x8",
    "data.images": 12,
    "data.validation": 2,
    "data.size": "32x48",
    "data.short_side": 32,
    "crop.size": "24x24",
    "training.batch": 4,
    "training.steps": 10,
    "game.canary_slots": 10,
}


def config(**changes: Any) -> AuditConfig:
    return load_config("quickstart", {**SMALL, **changes})


def replaced(**changes: Any) -> AuditConfig:
    return config(**{"canary.records": "replaced", **changes})


def test_quickstart_and_its_images_alone() -> None:
    """256 records give 4.45; the 160 that are the user's give 7.76."""
    found = declare(load_config("quickstart", {}))
    assert (found.records, found.canary_records) == (256, 96)
    assert found.bound.epsilon == pytest.approx(4.445, abs=0.005)
    assert found.epsilon_without_canaries == pytest.approx(7.755, abs=0.005)


def test_canaries_in_the_images_leave_the_images_their_epsilon() -> None:
    beside = declare(load_config("quickstart", {}))
    inside = declare(load_config("quickstart", {"canary.records": "replaced"}))
    assert (inside.records, inside.canary_records) == (160, 0)
    assert inside.bound.epsilon == inside.epsilon_without_canaries
    assert inside.bound.epsilon == beside.epsilon_without_canaries


@pytest.mark.parametrize(
    "changes",
    [
        {"training.sampler": "poisson"},
        {"training.sampler": "fixed"},
        {"training.sampler": "shuffle"},
        {"training.sampler": "full", "training.batch": 22},
        {"training.steps": None, "training.epochs": 3},
    ],
)
def test_the_images_alone_are_those_of_an_audit_without_added_records(
    changes: dict[str, Any],
) -> None:
    """The oracle is the same configuration whose canaries add no record."""
    beside = prepare_subject(config(**changes))
    assert (beside.records, beside.canary_records) == (22, 10)
    batch = min(changes.get("training.batch", 4), 12)
    inside = prepare_subject(replaced(**{**changes, "training.batch": batch}))
    assert (inside.records, inside.canary_records) == (12, 0)
    assert beside.epsilon_without_canaries == pytest.approx(inside.bound.epsilon, rel=1e-5)


def test_a_declared_configuration_says_what_the_data_turn_out_to_be() -> None:
    for given in (config(), replaced()):
        said, found = declare(given), prepare_subject(given)
        assert (said.records, said.canary_records) == (found.records, found.canary_records)
        assert said.epsilon_without_canaries == found.epsilon_without_canaries


@pytest.mark.parametrize("texture", ["blocks", "flat", "natural", "periodic"])
def test_only_patches_of_the_images_are_replaced(texture: str) -> None:
    subject = prepare_subject(replaced(**{"canary.texture": texture}))
    photographs = subject.photographs
    assert len(subject.filled) == len(photographs) == 12
    assert sorted(slot.record for slot in subject.slots) == list(range(10))
    for world in (subject.filled, fill_slots(subject.empty, subject.slots, ~subject.member)):
        for record in range(12):
            outside = photographs.masks[record] == photographs.masks[record]
            for slot in subject.slots:
                if slot.record == record:
                    outside[slot.box] = False
            image, before = world.images[record], photographs.images[record]
            assert (image[:, outside] == before[:, outside]).all()
            mask = world.masks[record]
            assert (mask[outside] == photographs.masks[record][outside]).all()
    differ = fill_slots(subject.empty, subject.slots, ~subject.member)
    for slot in subject.slots:
        assert (differ.masks[slot.record] != subject.filled.masks[slot.record])[slot.box].any()


def test_decoys_of_replaced_canaries_stand_in_the_images_as_they_were() -> None:
    subject = prepare_subject(replaced())
    data, slots = decoys_of(subject)
    assert len(data) == 12
    assert len(slots) == 10
    inside = ~(data.masks[0] == 255)
    assert (data.images[0][:, inside] == subject.photographs.images[0][:, inside]).all()


def test_more_canaries_than_images_are_refused() -> None:
    with pytest.raises(InputError, match="canary slots must be at most 12: 1 in each of 12 images"):
        prepare_subject(replaced(**{"game.canary_slots": 13}))
    two = prepare_subject(replaced(**{"game.canary_slots": 13, "canary.per_image": 2}))
    assert (len(two.slots), two.records) == (13, 12)


def test_real_objects_are_never_added() -> None:
    objects = {"canary.design": "real-object", "canary.objects": ["car"]}
    assert not config(**objects).canary.added
    with pytest.raises(InputError, match="records must be replaced for real-object, got added"):
        config(**{**objects, "canary.records": "added"})


def test_no_noise_needs_a_stated_claim() -> None:
    for given in (config(**{"training.noise_multiplier": 0}),):
        for look in (declare, prepare_subject):
            with pytest.raises(InputError, match=r"above 0, or claim\.epsilon .* given"):
                look(given)


@pytest.mark.parametrize("noise", [0, 1e-300, 1e-6, 0.02])
@pytest.mark.parametrize("family", ["mechanism", "none"])
def test_lost_noise_is_planned_for_by_the_claimed_mechanism(noise: float, family: str) -> None:
    given = config(
        **{
            "training.noise_multiplier": noise,
            "claim.epsilon": 4.45,
            "claim.family": family,
        }
    )
    found = declare(given)
    planned = found.mechanism
    assert isinstance(planned, PoissonPatch)
    assert epsilon_at(planned, 1e-5) == pytest.approx(4.45, rel=2e-3)
    assert math.isinf(found.bound.epsilon)
    assert found.bound.noise_multiplier == noise
    assert found.epsilon_without_canaries is None
    assert scoring_pairs(planned)[-1].sigma == pytest.approx(0.05 * planned.noise_multiplier)
    claim = state_claim(given.claim, planned, 1e-5)
    assert claim.noise_multiplier == pytest.approx(planned.noise_multiplier, rel=1e-3)


def test_little_noise_that_is_claimed_is_its_own_yardstick() -> None:
    """An honest claim of a loud mechanism: nothing is lost, so nothing is replaced."""
    own = PoissonPatch(0.25, 4 / 22, 0.9, 10)
    honest = epsilon_at(own, 1e-5)
    given = config(**{"training.noise_multiplier": 0.25, "claim.epsilon": honest})
    assert declare(given).mechanism.noise_multiplier == 0.25
    assert math.isfinite(declare(given).bound.epsilon)


@pytest.mark.parametrize(("background", "least"), [("ignore", 0.85), (None, 0.65)])
def test_power_canaries_in_the_images_are_heard_without_noise(
    background: str | None, least: float
) -> None:
    """A canary in each of 40 images, fixed seed; a deaf score has an AUC of 0.5 +- 0.09.

    With the image's own labels around it a canary is fainter than where it is all that is labelled.
    """
    given = replaced(
        **{
            "patch": "12x12",
            "data.images": 40,
            "training.model": "tiny-net",
            "training.batch": 8,
            "training.steps": 40,
            "training.twins": [],
            "training.noise_multiplier": 0,
            "claim.epsilon": 8.0,
            "game.canary_slots": 40,
            "game.attacks": ["probe", "white-box", "black-box"],
            "canary.background": background,
        }
    )
    games = audit_model(prepare_subject(given), silent).games
    white, _ = (game.attack for game in games)
    assert white.members + white.nonmembers == 40
    assert white.auc > least
