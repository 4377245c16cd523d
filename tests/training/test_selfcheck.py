import math

import pytest
import torch
from opacus.validators import ModuleValidator
from torch import nn

from cropaudit.errors import InputError
from cropaudit.training.data import IGNORE
from cropaudit.training.models import MODELS, build_model, recipe
from cropaudit.training.selfcheck import self_check

CLASSES = 4


pytestmark = pytest.mark.usefixtures("one_thread")


def batch(count: int = 2, side: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    stream = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, side, side), generator=stream, dtype=torch.uint8)
    masks = torch.randint(CLASSES, (count, side, side), generator=stream, dtype=torch.uint8)
    masks[-1, : side // 2] = IGNORE
    return images, masks


@pytest.mark.parametrize("name", [*MODELS, "pspnet:mobilenet_v2"])
def test_every_model_passes_in_its_mode(name):
    result = self_check(build_model(name, CLASSES, 0), *batch(), 0.5, recipe(name).mode)
    assert result.passed, result.detail
    assert result.gradient_error < 1e-12
    assert result.largest_clipped_norm == pytest.approx(1, abs=1e-5)
    assert result.isolation_error == 0


@pytest.mark.parametrize("mode", ["hooks", "ew", "functorch"])
def test_the_small_unet_passes_in_every_mode(mode):
    model = build_model("small-unet", CLASSES, 0)
    assert self_check(model, *batch(3, 24), 0.5, mode).passed


def test_images_without_labels_and_unclipped_gradients_pass():
    images, masks = batch(3, 24)
    masks[0] = IGNORE
    result = self_check(build_model("small-unet", CLASSES, 0), images, masks, 1e6, "hooks")
    assert result.passed, result.detail
    assert result.largest_clipped_norm < 1e-3


def test_the_model_is_left_as_it_was():
    model = build_model("small-unet", CLASSES, 0).eval()
    self_check(model, *batch(2, 24), 0.5, "hooks")
    assert not model.training
    assert all(p.dtype == torch.float32 and p.grad is None for p in model.parameters())
    assert not any(m._backward_hooks or m._forward_hooks for m in model.modules())


def without_contiguous_inputs(name: str) -> nn.Module:
    """A model short of one mend, in the memory format that GPUs like best."""
    model = build_model(name, CLASSES, 0).to(memory_format=torch.channels_last)
    for module in model.modules():
        module._forward_pre_hooks.clear()
    return model


@pytest.mark.parametrize("name", ["small-unet", "pspnet"])
def test_channels_last_convolutions_fail_under_hooks(name):
    # Opacus 1.6.0 takes their gradients wrongly, and its validator sees nothing amiss.
    model = without_contiguous_inputs(name)
    assert ModuleValidator.is_valid(model)
    result = self_check(model, *batch(), 0.5, "hooks")
    assert not result.passed
    assert result.gradient_error > 0.1
    assert "per-sample gradients are off" in result.detail


def test_an_smp_model_that_is_fixed_by_opacus_alone_fails():
    import segmentation_models_pytorch as smp

    raw = smp.PSPNet("resnet18", encoder_weights=None, classes=CLASSES, psp_dropout=0.0)
    result = self_check(ModuleValidator.fix(raw), *batch(), 0.5, "hooks")
    assert not result.passed
    assert result.detail.startswith("refused: ")


def test_the_mend_heals_channels_last():
    model = build_model("small-unet", CLASSES, 0).to(memory_format=torch.channels_last)
    assert self_check(model, *batch(), 0.5, "hooks").passed


@pytest.mark.parametrize("mode", ["hooks", "ew", "functorch"])
def test_opacus_refusal_of_batchnorm_is_a_failed_check(mode):
    model = nn.Sequential(nn.Conv2d(3, CLASSES, 3, padding=1), nn.BatchNorm2d(CLASSES))
    result = self_check(model, *batch(2, 16), 0.5, mode)
    assert not result.passed
    assert result.detail.startswith("refused: ")
    assert "\n" not in result.detail
    assert math.isnan(result.gradient_error)


@pytest.mark.parametrize("mode", ["hooks", "ew", "functorch"])
def test_batchnorm_without_buffers_fails_isolation(mode):
    # Opacus accepts this one.
    norm = nn.BatchNorm2d(CLASSES, affine=False, track_running_stats=False)
    model = nn.Sequential(nn.Conv2d(3, CLASSES, 3, padding=1), norm)
    result = self_check(model, *batch(2, 16), 0.5, mode)
    assert not result.passed
    assert result.isolation_error > 1e-3
    assert "image 1 moves the gradient of image 0" in result.detail


def test_a_parameter_without_gradient_is_a_failed_check():
    model = nn.Sequential(nn.Conv2d(3, CLASSES, 1))
    model.unused = nn.ParameterList([nn.Parameter(torch.zeros(3))])
    model.forward = model[0].forward
    result = self_check(model, *batch(2, 16), 0.5, "hooks")
    assert not result.passed


def test_one_image_is_refused():
    with pytest.raises(InputError, match="images must be at least 2, got 1"):
        self_check(nn.Conv2d(3, 2, 1), *batch(1, 16), 0.5, "hooks")
