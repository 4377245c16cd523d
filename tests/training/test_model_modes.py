"""Every listed model trains two steps by each way of per-sample gradients, or is not offered it."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from cropaudit.accounting.geometry import Crop, Size
from cropaudit.errors import InputError
from cropaudit.training import mode_support
from cropaudit.training.data import SegmentationData
from cropaudit.training.dpsgd import DpSgdSpec, train
from cropaudit.training.mode_support import ALL_MODES, offered_mode
from cropaudit.training.models import MODELS, GradSampleMode, build_model, recipe
from cropaudit.training.private_step import PrivateStep
from cropaudit.training.run_setup import planned_mode
from cropaudit.training.samplers import FullBatch

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = "tu-tf_mobilenetv3_small_minimal_100"
CLASSES, SIDE = 3, 32
# What is not offered: expanded weights know no transposed convolution, and cut views of a
# transformer's strides.
REFUSED = {
    "linknet": {"ew"},
    "segformer:mit_b0": {"ew"},
}
# With the smallest encoder that each has. Torchvision's are large whatever it is: their backward
# passes by every mode are in test_torchvision_gradients, their steps in the study.
NAMES = [
    *(f"{name}:{TINY}" if found.encoder == "resnet18" else name for name, found in MODELS.items()),
    "segformer:mit_b0",
]
LARGE = {"fcn", "deeplabv3", "lraspp"}


def two_steps(model: nn.Module, mode: GradSampleMode) -> float:
    """Trains and returns how far the weights moved, in units of the learning rate."""
    stream = torch.Generator().manual_seed(0)
    step = PrivateStep(
        model,
        mode,
        noise_multiplier=0.0,
        max_grad_norm=1.0,
        learning_rate=0.1,
        expected_batch=2,
    )
    before = [p.detach().clone() for p in step.parameters]
    for _ in range(2):
        pixels = torch.randn(2, 3, SIDE, SIDE, generator=stream)
        loss = step(pixels, torch.randint(CLASSES, (2, SIDE, SIDE), generator=stream))
        assert 0 < loss < 100
    moved = [(p.detach() - b).norm() for p, b in zip(step.parameters, before, strict=True)]
    return float(torch.stack(moved).norm()) / 0.1


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LARGE])
def test_every_model_trains_two_steps_by_every_mode_that_it_is_offered(name: str) -> None:
    model = build_model(name, CLASSES, 0)
    refused = REFUSED.get(name, REFUSED.get(name.partition(":")[0], set()))
    moved = {
        mode: two_steps(copy.deepcopy(model), mode) for mode in ALL_MODES if mode not in refused
    }
    # Two clipped means of two images, whatever took the gradients.
    assert all(0 < far <= 2.001 for far in moved.values())
    assert max(moved.values()) - min(moved.values()) < 1e-2, moved
    for mode in sorted(refused):
        with pytest.raises(InputError, match=f"grad_sample_mode must be one of .*, got {mode}"):
            offered_mode(name, model, mode)
    if recipe(name).mode in refused:
        assert offered_mode(name, model).mode not in refused


SPEC = DpSgdSpec(
    model="segformer:mit_b0",
    crop=Crop(Size(SIDE, SIDE)),
    sampling=FullBatch(),
    steps=2,
    noise_multiplier=1.0,
    max_grad_norm=1.0,
    learning_rate=0.1,
)


@pytest.fixture(scope="module")
def data() -> SegmentationData:
    stream = torch.Generator().manual_seed(3)
    return SegmentationData(
        tuple(torch.randint(256, (3, 36, 36), generator=stream).byte() for _ in range(2)),
        tuple(torch.randint(CLASSES, (36, 36), generator=stream).byte() for _ in range(2)),
        ("sky", "road", "car"),
        ("a", "b"),
        "test",
    )


def test_an_encoder_that_the_recipes_mode_cannot_take_trains_by_another(data) -> None:
    """It died in its first backward pass: view size is not compatible."""
    trained = train(data, SPEC, device=torch.device("cpu"))
    assert trained.mode == "hooks"
    assert all(loss == loss for loss in trained.losses)
    model = build_model(SPEC.model, CLASSES, 0)
    reason = planned_mode(SPEC, model).reason
    assert "which the recipe's mode ew is not here: RuntimeError: view size is not" in reason


def test_a_mode_that_a_model_is_not_offered_is_refused_before_anything_trains(
    data, monkeypatch
) -> None:
    monkeypatch.setattr("cropaudit.training.dpsgd.private_step", None)
    words = (
        "grad_sample_mode must be one of hooks, functorch, ghost, which are exact for "
        "segformer:mit_b0, got ew: RuntimeError: view size is not"
    )
    with pytest.raises(InputError, match=words) as caught:
        train(data, replace(SPEC, grad_sample_mode="ew"), device=torch.device("cpu"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wanted", [None, "hooks"])
def test_a_mode_with_wrong_gradients_is_no_more_offered_than_one_that_dies(
    monkeypatch, wanted
) -> None:
    """Strides that Opacus' hooks read wrongly, without a word."""
    monkeypatch.setattr(mode_support, "_SEEN", {})
    model = build_model("small-unet", CLASSES, 0).to(memory_format=torch.channels_last)
    for module in model.modules():
        module._forward_pre_hooks.clear()
    if wanted is None:
        found = offered_mode("small-unet", model)
        assert found.mode != "hooks"
        assert "mode hooks is not here: its gradients are off by" in found.reason
        return
    with pytest.raises(InputError, match="got hooks: its gradients are off by"):
        offered_mode("small-unet", model, "hooks")


def test_a_model_that_no_mode_takes_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(mode_support, "_tried", lambda precise, mode: f"no {mode}")
    monkeypatch.setattr(mode_support, "_SEEN", {})
    words = "tiny-net: hooks: no hooks; ew: no ew; functorch: no functorch; ghost: no ghost"
    with pytest.raises(InputError, match=words):
        offered_mode("tiny-net", build_model("tiny-net", 2, 0))


def test_half_precision_and_measuring_plan_an_exact_mode_too() -> None:
    model = build_model("tiny-net", CLASSES, 0)
    spec = replace(SPEC, model="tiny-net")
    assert planned_mode(replace(spec, precision="bf16"), model).mode == "hooks"
    assert planned_mode(replace(spec, grad_sample_mode="auto"), model).mode == "hooks"
    assert planned_mode(replace(spec, grad_sample_mode="ghost"), model).reason == "as configured"
