import copy
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn

from cropaudit.errors import InputError
from cropaudit.training.losses import pixel_losses
from cropaudit.training.models import (
    MODELS,
    AnySize,
    ModelSpec,
    build_model,
    mend,
    pad_to_multiple,
)
from cropaudit.training.networks.mending import mend_layers

NAMES = ["small-unet", "pspnet:mobilenet_v2", "deeplabv3plus", "lraspp"]
TINY = "tu-tf_mobilenetv3_small_minimal_100"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=NAMES)
def model(request) -> nn.Module:
    return build_model(request.param, 4, seed=0)


def test_logits_have_the_images_size(model):
    with torch.no_grad():
        for size in [(64, 64), (50, 67)]:
            assert model(torch.zeros(2, 3, *size)).shape == (2, 4, *size)


def test_no_statistic_crosses_images_and_nothing_is_in_place(model):
    for module in model.modules():
        assert not isinstance(module, nn.modules.batchnorm._BatchNorm)
        assert not getattr(module, "inplace", False)
        assert getattr(module, "p", 0.0) == 0.0 or not isinstance(module, nn.Dropout | nn.Dropout2d)
    assert not list(model.buffers())


def test_the_output_depends_on_every_trainable_parameter(model):
    torch.manual_seed(0)
    trainable = [p for p in model.parameters() if p.requires_grad]
    logits = model(torch.randn(2, 3, 64, 64))
    gradients = torch.autograd.grad(logits.square().sum(), trainable, allow_unused=True)
    assert all(g is not None and bool(g.any()) for g in gradients)


def test_vmap_of_gradients_is_possible(model):
    torch.manual_seed(0)
    parameters = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    images, masks = torch.randn(2, 3, 33, 40), torch.randint(4, (2, 33, 40))

    def loss(values, image, mask):
        logits = torch.func.functional_call(model, values, (image[None],))
        return pixel_losses(logits, mask[None]).sum()

    gradients = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(parameters, images, masks)
    assert all(g.shape[0] == 2 and bool(torch.isfinite(g).all()) for g in gradients.values())


def test_copies_and_pickles_are_independent_models(model):
    torch.manual_seed(0)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = model(images)
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(twin(images), expected)
            for parameter in twin.parameters():
                parameter.zero_()
            assert not twin(images).any()
        assert torch.equal(model(images), expected)


def test_the_seed_fixes_the_weights_and_spares_the_global_state():
    torch.manual_seed(1)
    first = torch.rand(1)
    torch.manual_seed(1)
    weights = [
        torch.nn.utils.parameters_to_vector(build_model("small-unet", 3, seed).parameters())
        for seed in (7, 7, 8)
    ]
    assert torch.equal(torch.rand(1), first)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_small_unet_is_small():
    count = sum(p.numel() for p in build_model("small-unet", 10, 0).parameters())
    assert 30_000 < count < 42_000


def test_small_images_pass():
    with torch.no_grad():
        assert build_model("small-unet", 3, 0)(torch.zeros(1, 3, 16, 17)).shape == (1, 3, 16, 17)


def test_padding_adds_zeros_below_and_to_the_right():
    images = torch.ones(1, 3, 5, 8)
    padded = pad_to_multiple(images, 4)
    assert padded.shape == (1, 3, 8, 8)
    assert torch.equal(padded[..., :5, :], images)
    assert not padded[..., 5:, :].any()
    assert pad_to_multiple(images, 1) is images


def test_padding_is_cut_off_again():
    images = torch.randn(2, 3, 5, 6)
    assert torch.equal(AnySize(nn.Identity(), 4)(images), images)


@pytest.mark.parametrize("name", [*MODELS, "pspnet:mobilenet_v2", f"unet:{TINY}"])
def test_every_model_takes_any_size_from_16_pixels_on(name):
    model = build_model(name, 3, 0)
    with torch.no_grad():
        for size in [(16, 16), (17, 40)]:
            # One image: some layers refuse it where they would take two.
            assert model(torch.zeros(1, 3, *size)).shape == (1, 3, *size)


def test_no_library_is_imported_before_it_is_asked_for():
    code = (
        "import sys; from cropaudit.training.models import build_model, recipe; recipe('fcn');"
        "build_model('small-unet', 3, 0);"
        "print(*({'torchvision', 'timm', 'segmentation_models_pytorch'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", ["nonet", "", ":resnet18"])
def test_an_unknown_model_is_refused_with_the_legal_names(name):
    with pytest.raises(InputError, match=r"one of deeplabv3, deeplabv3plus, fcn, .*unet.*, got"):
        build_model(name, 3, 0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pspnet:resnet1", "has for PSPNet, such as resnet18, got resnet1"),
        ("unet:tu-resnet1", "has for Unet, such as resnet18, got tu-resnet1"),
        ("small-unet:resnet18", "small-unet: it has no other encoders"),
        ("pspnet:", "model must be pspnet or pspnet:encoder, got pspnet:"),
        ("fcn:resnet18", "encoder must be one of resnet50, resnet101 for fcn, got resnet18"),
        ("lraspp:resnet50", "one of mobilenet_v3_large for lraspp, got resnet50"),
        ("pspnet:tu-skresnet18", "runs on one small image, got Expected more than 1 value"),
    ],
)
def test_an_encoder_that_will_not_do_is_refused_in_one_line(name, message):
    with pytest.raises(InputError, match=message) as caught:
        build_model(name, 3, 0)
    assert "\n" not in str(caught.value)


def test_a_spec_refuses_what_cannot_be_built():
    with pytest.raises(InputError, match="model must be one of"):
        ModelSpec("nonet")
    with pytest.raises(InputError, match="norm must be group or frozen-batch, got batch"):
        ModelSpec("pspnet", norm="batch")


class Dropping(nn.Module):
    """Drops in a way that no attribute turns off."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Conv2d(3, 2, 1)

    def forward(self, images):
        return nn.functional.dropout(self.mix(images), 0.5)


def test_dropout_and_dropped_paths_are_turned_off():
    for name in ("unet:efficientnet-b0", "unet:mit_b0", "fcn", "segformer"):
        model = build_model(name, 2, 0)
        images = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            assert torch.equal(model(images), model(images)), name
    with pytest.raises(InputError, match="random layers can be turned off, got two outputs"):
        mend_layers(Dropping())


def test_odd_strides_of_sides_of_one_pixel_are_mended():
    """Opacus' unfold2d trusts the strides, where torch calls such memory contiguous."""
    seen = []
    model = mend(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    model[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].stride()))
    model(torch.empty_strided((2, 3, 1, 8), (24, 1, 99, 3)).fill_(1.0))
    odd = torch.zeros(2, 1, 3).transpose(1, 2).unsqueeze(-1)
    assert odd.is_contiguous()
    assert odd.stride() != (3, 1, 1, 1)
    model(odd)
    assert seen == [(24, 8, 8, 1), (3, 1, 1, 1)]
