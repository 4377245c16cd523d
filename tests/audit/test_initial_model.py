"""One model at one start: what is trained, and what canaries are fitted to."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from cropaudit.audit.config import AuditConfig
from cropaudit.audit.initial_model import initial_model
from cropaudit.audit.subject import prepare_subject
from cropaudit.audit.training_plan import training_spec
from cropaudit.training.dpsgd import train
from cropaudit.training.models import build_model


def config(**training: object) -> AuditConfig:
    values = {
        "patch": "6x6",
        "data": {"images": 3, "validation": 1, "size": "32x32"},
        "crop": {"size": "16x16"},
        "training": {"model": "tiny-net", "batch": 2, "steps": 1, **training},
        "game": {"attacks": ["probe"], "canary_slots": 1},
    }
    return AuditConfig.model_validate(values)


def test_it_is_where_the_audited_run_begins() -> None:
    subject = prepare_subject(config())
    classes = len(subject.empty.classes)
    model = initial_model(subject.config.training, classes, subject.seeds.weights)
    begun = train(subject.filled, training_spec(subject)).initial
    assert all(torch.equal(value, begun[name]) for name, value in model.state_dict().items())


def test_a_file_of_weights_is_used(tmp_path: Path) -> None:
    file = tmp_path / "start.safetensors"
    state = build_model("tiny-net", 10, 77).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, file)
    model = initial_model(config(weights=str(file)).training, 10, 0)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
