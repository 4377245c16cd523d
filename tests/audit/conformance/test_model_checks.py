"""Model probe and its checks: exact comparisons, so no test here has a chance to fail by itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from cropaudit.audit.conformance.checks import (
    clipping,
    finite_updates,
    isolation,
    kept_state,
    per_sample_gradients,
)
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.faults.models import CLEAN, FAULTS, make_groupnorm, make_prototypes
from cropaudit.audit.conformance.observe.gradients import Gradients
from cropaudit.audit.conformance.observe.store import load, save
from cropaudit.audit.conformance.probes.model import probe_model
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.audit.conformance.worker.guard import Guard, UserError
from cropaudit.audit.conformance.worker.user_code import find, made

pytestmark = pytest.mark.usefixtures("one_thread")

CHECKS = (
    per_sample_gradients.check,
    isolation.check,
    clipping.check,
    finite_updates.check,
    kept_state.check,
)
ANY = Subjects(model="m:make")


def probed(fault):
    guard = Guard("model", None, lambda: None)
    loss = find(fault.subjects.loss, guard) if fault.subjects.loss else None
    model = made(find(fault.subjects.model, guard), guard)
    return probe_model(model, loss, guard, fault.subjects, fault.claimed)


def probe(model, loss=None):
    return probe_model(model, loss, Guard("model", None, lambda: None), ANY, Claimed())


def refuted(gradients, claimed):
    outcomes = [check(Seen(gradients=gradients), claimed) for check in CHECKS]
    return {o.check: [t.words for t in o.tests if t.p_value < 1] for o in outcomes}


NAMED = {
    "batchnorm-train": "1 (BatchNorm2d) mixes the images",
    "revived-batchnorm": "1 (BatchNorm2d) was delivered frozen by eval(), and .train()",
    "channels-last": "the images are channels_last, and Opacus' unfold2d",
    "batch-loss": "the loss crosses images",
    "feature-bank": "the model keeps what images show in 1.bank",
    "prototypes": "one image is in the gradients of later ones",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_is_found_by_its_check_with_its_cause(fault):
    words = refuted(probed(fault), fault.claimed)[fault.check]
    assert any(NAMED[fault.name] in item for item in words)


@pytest.mark.parametrize("fault", CLEAN, ids=lambda fault: fault.name)
def test_sound_models_pass_with_room_to_spare(fault, tmp_path):
    gradients = probed(fault)
    save(gradients, tmp_path / "g.npz")
    gradients = load(Gradients, tmp_path / "g.npz")
    assert gradients.error.max() < 1e-12
    for check in CHECKS:
        outcome = check(Seen(gradients=gradients), fault.claimed)
        assert outcome.tests
        assert all(test.p_value == 1 for test in outcome.tests), outcome
        assert not outcome.undecided
        assert outcome.evidence
        assert outcome.power


@pytest.mark.parametrize(
    ("loss", "reduction"),
    [
        (lambda o, m: functional.cross_entropy(o, m, reduction="none").mean((1, 2)), "each"),
        (lambda o, m: functional.cross_entropy(o, m), "mean"),
        (lambda o, m: functional.cross_entropy(o, m, reduction="sum"), "sum"),
        (nn.CrossEntropyLoss(weight=torch.ones(4)), "mean"),
    ],
)
def test_losses_of_every_reduction_are_compared(loss, reduction):
    def without_void(outputs, masks):
        return loss(outputs, masks.clamp(max=3))

    gradients = probe(make_groupnorm(), without_void)
    assert gradients.reduction == reduction
    assert not any(refuted(gradients, Claimed()).values())


def test_a_loss_normalised_by_the_batch_is_neither_mean_nor_sum():
    gradients = probe(make_groupnorm(), lambda o, m: o.square().sum().sqrt())
    assert gradients.reduction == "crossing"
    assert refuted(gradients, Claimed())["isolation"]


class Centred(nn.Module):
    """Mixes images outside its layers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, images):
        return self.conv(images - images.mean(dim=0))


def test_mixing_outside_the_layers_is_found_without_a_culprit():
    words = refuted(probe(Centred()), Claimed())["isolation"]
    assert "a computation outside the model's layers" in words[0]


class Outputs(nn.Module):
    """A dict like torchvision's, with dropout, or a classifier."""

    def __init__(self, classify):
        super().__init__()
        self.conv, self.drop, self.classify = nn.Conv2d(3, 2, 3), nn.Dropout(0.5), classify

    def forward(self, images):
        found = self.drop(self.conv(images))
        return found.mean((2, 3)) if self.classify else {"out": found, "aux": 2 * found}


@pytest.mark.parametrize("classify", [False, True])
def test_dicts_classifiers_and_dropout_are_taken(classify):
    gradients = probe(Outputs(classify))
    assert gradients.stilled == "Dropout"
    assert not any(refuted(gradients, Claimed()).values())


def test_a_wrong_type_and_a_raising_model_end_the_probe():
    with pytest.raises(UserError, match=r"must return a torch\.nn\.Module, got int"):
        probe(3)
    with pytest.raises(UserError, match="RuntimeError"):
        probe(nn.Conv2d(5, 2, 1))
    with pytest.raises(UserError, match="requires_grad"):
        probe(nn.ReLU())


def test_random_layers_and_refusals_are_inconclusive():
    gradients = probe(make_groupnorm())
    random = replace(gradients, steady=False, repeatable=False)
    for check in (per_sample_gradients.check, isolation.check, kept_state.check):
        assert check(Seen(gradients=random), Claimed()).undecided
    refused = replace(gradients, refused="RuntimeError: a view was modified inplace")
    assert (
        "inplace=False" in per_sample_gradients.check(Seen(gradients=refused), Claimed()).undecided
    )
    assert clipping.check(Seen(gradients=refused), Claimed()).undecided


def test_without_a_model_the_checks_are_skipped():
    for check in CHECKS:
        assert check(Seen(), Claimed()).skipped


@pytest.fixture(scope="module")
def sound():
    return probe(make_groupnorm())


@settings(max_examples=50, deadline=None)
@given(shift=st.floats(0, 10), error=st.floats(0, 10))
def test_verdicts_follow_the_tolerance(sound, shift, error):
    found = replace(
        sound, gradient_shift=shift, error=np.where(np.arange(len(sound.error)) == 2, error, 0)
    )
    words = refuted(found, Claimed())
    assert bool(words["isolation"]) == (shift > 1e-8)
    assert bool(words["per-sample gradients"]) == (error > 1e-8)
    if error > 1e-8:
        assert found.parameters[2] in words["per-sample gradients"][0]


class FunctionalDropout(nn.Module):
    """Draws in its forward pass, without a layer that could be turned off."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, images):
        return functional.dropout(self.conv(images), training=True)


def test_chance_is_told_from_memory():
    chance, memory = probe(FunctionalDropout()), probe(make_prototypes())
    assert chance.repeatable
    assert memory.repeatable
    assert chance.recalls == 0 < memory.recalls
    assert list(memory.kept) == ["1.prototype"]
    assert not any(refuted(chance, Claimed()).values())
    said = refuted(memory, Claimed())
    assert "keeps what images show in 1.prototype" in said["kept state"][0]
    assert not said["isolation"]
    told = per_sample_gradients.check(Seen(gradients=memory), Claimed()).undecided
    assert "recalls in 1.prototype" in told


class HiddenMemory(nn.Module):
    """Remembers outside its buffers."""

    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 2, 1), 0.0

    def forward(self, images):
        found = self.conv(images) + self.last
        self.last = float(images.mean())
        return found


class WeighedLoss(nn.Module):
    """Weighs classes by the labels of earlier batches."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, outputs, masks):
        masks = masks.clamp(max=3)
        counts = torch.bincount(masks.flatten(), minlength=4)
        self.seen = self.seen + counts * (1.0 + torch.arange(4) * float(outputs.mean().detach()))
        return functional.cross_entropy(outputs, masks)


class Counting(nn.Module):
    """Counts its calls, which holds nothing of the images."""

    def __init__(self):
        super().__init__()
        self.conv = nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 2, 1))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images):
        self.calls = self.calls + 1
        return self.conv(images)


def test_memory_in_attributes_and_in_the_loss_is_found_and_counters_pass():
    hidden = refuted(probe(HiddenMemory()), Claimed())["kept state"]
    assert "one image is in the gradients of later ones" in hidden[0]
    loss = refuted(probe(make_groupnorm(), WeighedLoss()), Claimed())["kept state"]
    assert "loss.seen" in loss[0]
    assert not refuted(probe(Counting()), Claimed())["kept state"]


def test_nan_is_no_pass(sound):
    error = sound.error.copy()
    error[0] = np.nan
    assert refuted(replace(sound, error=error), Claimed())["per-sample gradients"]


@settings(max_examples=30, deadline=None)
@given(norm=st.floats(0, 3))
def test_a_model_over_c_fails(sound, norm):
    words = refuted(replace(sound, clipped_norm=np.full(4, norm)), Claimed())["clipping"]
    assert bool(words) == (norm > 1 + 1e-6)
