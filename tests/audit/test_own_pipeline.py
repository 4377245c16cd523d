"""The audit's own pipeline under every sampler: sound, also where the last batch is short."""

import pytest

from cropaudit.audit import own_pipeline
from cropaudit.audit.claims import state_claim
from cropaudit.audit.config import AuditConfig
from cropaudit.audit.subject import prepare_subject

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("sampler", "batch", "training"),
    [
        ("poisson", 3, {"steps": None, "epochs": 2}),
        ("shuffle", 4, {}),  # 6 records: the second batch of an epoch holds two
        ("cyclic", 4, {"momentum": 0.5, "weight_decay": 0.01}),
        ("full", 6, {"physical_batch": 2, "grad_sample_mode": "ew"}),
    ],
)
def test_no_check_fails(
    sampler: str, batch: int, training: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each battery has a level of 1%; the seed is fixed."""
    monkeypatch.setattr(own_pipeline, "_SECONDS", 0.5)
    values = {
        "seed": 5,  # one of those whose trainer is spawned a seed of all 64 bits
        "patch": "6x6",
        "data": {"images": 5, "validation": 1, "size": "32x40"},
        "crop": {"size": "24x24"},
        "training": {
            "model": "tiny-net",
            "sampler": sampler,
            "batch": batch,
            "steps": 5,
            "noise_multiplier": 1.0,
            **training,
        },
        "game": {"attacks": ["probe"], "canary_slots": 1},
    }
    subject = prepare_subject(AuditConfig.model_validate(values))
    claim = state_claim(subject.config.claim, subject.mechanism, subject.config.game.delta)
    found = own_pipeline.own_conformance(subject, claim)
    failed = [f"{check.name}: {check.observed}" for check in found.checks if check.status == "fail"]
    assert failed == []
    statuses = {check.name: check.status for check in found.checks}
    assert {statuses[name] for name in ("accountant", "noise", "clipping")} == {"pass"}
