"""Every crop law with every number of crops an image and both ways of clipping, audited in full."""

import dataclasses
from functools import lru_cache
from typing import Any

import pytest

from cropaudit.accounting.bounds.bound import Phase, Pipeline, bound_phases
from cropaudit.accounting.geometry.crop_laws import ResizedCrop
from cropaudit.accounting.geometry.shapes import Crop, Rectangle, Size
from cropaudit.attacks.probe import Probe, ProbeScores, run_probe
from cropaudit.audit.config.audit_config import AuditConfig, load_config
from cropaudit.audit.experiment import own_pipeline
from cropaudit.audit.experiment.subject import Subject, prepare_subject
from cropaudit.audit.games import probe_game as games
from cropaudit.audit.games.probe_game import control_checks, probe_game
from cropaudit.audit.runs.run import run_audit
from cropaudit.audit.verdict.claims import state_claim
from cropaudit.audit.verdict.verdict import decide

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGE, SHOWN, PATCH = Size(32, 48), Size(16, 16), Size(6, 8)
SCALE = (0.1, 0.4)
LAWS = {"uniform": Crop(SHOWN), "resized": ResizedCrop(SHOWN, SCALE)}
RULES = [(1, "together"), (2, "together"), (2, "apart")]
COMBINATIONS = [(law, *rule) for law in LAWS for rule in RULES]


@lru_cache
def configured(
    law: str, several: int, clipped: str, steps: int = 2, noise: float = 2.0
) -> AuditConfig:
    crop: dict[str, Any] = {"law": law, "size": "16x16", "per_image": several, "clipped": clipped}
    if law == "resized":
        crop["scale"] = list(SCALE)
    values = {
        "seed": 4,
        "patch": "6x8",
        "data": {"images": 6, "validation": 1, "size": "32x48"},
        "crop": crop,
        "training": {
            "model": "tiny-net",
            "batch": 4,
            "steps": steps,
            "noise_multiplier": noise,
            "max_grad_norm": 0.3,
            "twins": [],
        },
        "game": {
            "probe_slots": 300,
            "control_slots": 300,
            "canary_slots": 10,
            "black_box_windows": 2,
        },
    }
    return AuditConfig.model_validate(values)


def silent(title: str, total: int) -> Any:
    return lambda done: None


@pytest.mark.parametrize(("law", "several", "clipped"), COMBINATIONS)
def test_a_whole_audit_claims_what_the_accountant_bounds(
    law: str, several: int, clipped: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for constant, few in (("_WINDOWS", 300), ("_NEAR", 60), ("_REPLAYS", 10), ("_STEPS", 60)):
        monkeypatch.setattr(own_pipeline, constant, few)
    kept: dict[str, bytes] = {}
    done = run_audit(configured(law, several, clipped), "a test", silent, kept.update)
    report = done.report
    pipeline = Pipeline(
        images=(IMAGE,),
        crop=LAWS[law],
        patch=Rectangle(PATCH),
        sampler="poisson",
        batch=4,
        records=16,
        steps=2,
        crops_per_image=several,
        clipped=clipped,
    )
    accounted = bound_phases([Phase(pipeline, 2.0)], report.claim.delta)
    assert report.claim.epsilon == pytest.approx(accounted.epsilon, rel=1e-4)
    assert report.claim.epsilon_amplified == accounted.epsilon
    assert report.claim.inclusion_probability == accounted.inclusion_probability
    words = report.claim.crop
    assert ("resized to 16x16" in words) == (law == "resized")
    assert (f"{several} an image, clipped {clipped}" in words) == (several > 1)
    assert [attack.name for attack in report.attacks] == ["probe", "white-box", "black-box"]
    for attack in report.attacks:
        assert max(item.epsilon for item in attack.bounds) < report.claim.epsilon, attack.name
    assert report.verdict.status != "violation"
    failed = {c.name for c in report.controls if c.status == "fail"}
    failed |= {c.name for c in report.conformance.checks if c.status == "fail"}
    assert failed == set()
    assert "tape.npz" in kept


def played(subject: Subject) -> tuple[Any, ProbeScores]:
    game, result = probe_game(subject, None)
    claim = state_claim(subject.config.claim, subject.mechanism, subject.config.game.delta)
    level = 1 - subject.config.game.confidence
    return decide(claim, game.shown, level, (), claim.epsilon, 2.0), result


def halved(spec: Probe, progress: Any = None) -> ProbeScores:
    return run_probe(dataclasses.replace(spec, noise_multiplier=spec.noise_multiplier / 3))


@pytest.mark.parametrize(("law", "several", "clipped"), [COMBINATIONS[1], *COMBINATIONS[3:]])
def test_lost_noise_is_refuted_and_the_rate_is_as_accounted(
    law: str, several: int, clipped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two thirds of the noise are gone. Over seeds a sound pipeline's controls fail 0.3%."""
    subject = prepare_subject(configured(law, several, clipped))
    monkeypatch.setattr(games, "run_probe", halved)
    verdict, result = played(subject)
    assert verdict.status == "violation"
    null, _, rate = control_checks(subject, result)
    assert (null.status, rate.status) == ("pass", "pass")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crop.law": "tenfold"}, "crop.law: must be 'uniform' or 'resized', got tenfold"),
        ({"crop.per_image": 0}, "crop.per_image: must be greater than or equal to 1"),
        ({"crop.law": "resized", "crop.padding": 2}, "crop.padding must be left out for law res"),
        ({"crop.scale": [0.2, 0.4]}, "crop.scale must be left out for law uniform"),
        ({"crop.law": "resized", "crop.scale": [0.5, 0.2]}, "scale must be two numbers"),
        (
            {"crop.law": "resized", "canary.background": "sparse"},
            "canary.background must be ignore or natural for law resized",
        ),
        (
            {"crop.per_image": 2, "game.attacks": ["probe", "two-world"]},
            "crop.per_image must be 1 for the two-world game",
        ),
        (
            {"crop.per_image": 2, "game.attacks": ["probe", "reference"]},
            "crop.per_image must be 1 for the reference game",
        ),
        (
            {"training.grad_sample_mode": "ghost", "crop.per_image": 2},
            "training.grad_sample_mode must be one that takes each crop's gradient",
        ),
        (
            {"training.physical_batch": 2, "crop.per_image": 4},
            "training.physical_batch must be at least 4",
        ),
    ],
)
def test_what_cannot_be_trained_or_accounted_is_refused(
    changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        load_config("quickstart", changes)
