"""The models that audits train, in the grad-sample modes that they are trained in, are exact."""

import pytest
import torch
from opacus.grad_sample.utils import wrap_model
from torch import nn

from cropaudit.audit.conformance.checks import clipping, isolation, per_sample_gradients
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.outcome import Finding, decide
from cropaudit.audit.conformance.probes.model import probe_model
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.audit.conformance.worker.guard import Guard
from cropaudit.training.models import build_model, recipe

CLASSES = 4

pytestmark = pytest.mark.usefixtures("one_thread")


def examined(model: nn.Module) -> dict[str, Finding]:
    subjects = Subjects(model="cropaudit.training.models:build_model")
    gradients = probe_model(model, None, Guard("model", None, lambda: None), subjects, Claimed())
    seen = Seen(gradients=gradients)
    checks = (per_sample_gradients.check, isolation.check, clipping.check)
    findings = decide([check(seen, Claimed()) for check in checks], 0.01)
    return {finding.check: finding for finding in findings}


# tests/training compares every family's gradients; the checks that users run see the main ones.
NAMES = ["small-unet", "pspnet", "deeplabv3plus", "pspnet:mobilenet_v2"]


@pytest.mark.parametrize("name", NAMES)
def test_every_model_passes_in_its_mode(name: str) -> None:
    mode = recipe(name).mode
    model = wrap_model(build_model(name, CLASSES, 0), mode, loss_reduction="sum")
    found = examined(model)
    assert {finding.status for finding in found.values()} == {"pass"}, found
    assert mode in found["per-sample gradients"].detail


@pytest.mark.parametrize("mode", ["hooks", "ew", "functorch"])
def test_the_small_unet_passes_in_every_mode(mode: str) -> None:
    model = wrap_model(build_model("small-unet", CLASSES, 0), mode, loss_reduction="sum")
    assert {finding.status for finding in examined(model).values()} == {"pass"}


def without_contiguous_inputs(name: str) -> nn.Module:
    """A model short of one mend, in the memory format that GPUs like best."""
    model = build_model(name, CLASSES, 0).to(memory_format=torch.channels_last)
    for module in model.modules():
        module._forward_pre_hooks.clear()
    return model


@pytest.mark.parametrize("name", ["small-unet", "pspnet"])
def test_channels_last_convolutions_fail_under_hooks(name: str) -> None:
    """Opacus 1.6.0 takes their gradients wrongly, and its validator sees nothing amiss."""
    finding = examined(without_contiguous_inputs(name))["per-sample gradients"]
    assert finding.status == "fail"
    assert "make the input of each Conv2d contiguous" in finding.detail


def test_the_mend_heals_channels_last() -> None:
    model = build_model("small-unet", CLASSES, 0).to(memory_format=torch.channels_last)
    assert examined(model)["per-sample gradients"].status == "pass"
