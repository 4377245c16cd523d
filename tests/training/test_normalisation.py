import copy

import pytest
import torch
from opacus.validators import ModuleValidator
from torch import nn

from cropaudit.errors import InputError
from cropaudit.training.models import ModelSpec, WeightsFile, build, build_model
from cropaudit.training.networks.normalisation import (
    FrozenBatchNorm2d,
    batch_norms,
    replace_batch_norms,
)
from cropaudit.training.private_step import PrivateStep
from tests.training.per_sample_oracle import largest_error

pytestmark = pytest.mark.usefixtures("one_thread")


def measured(norm: nn.BatchNorm2d, seed: int = 0) -> nn.BatchNorm2d:
    """Gives a BatchNorm a scale, a shift and statistics, as training would."""
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in ("weight", "bias", "running_mean", "running_var"):
            tensor = getattr(norm, name)
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=stream))
    return norm


def trained_encoder() -> dict[str, torch.Tensor]:
    from torchvision.models import mobilenet_v2

    torch.manual_seed(0)
    network = mobilenet_v2(weights=None)
    for i, path in enumerate(batch_norms(network)):
        measured(network.get_submodule(path), i)
    return network.state_dict()


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> WeightsFile:
    path = tmp_path_factory.mktemp("weights") / "encoder.pt"
    torch.save(trained_encoder(), path)
    return WeightsFile(path)


@pytest.fixture
def model(weights) -> nn.Module:
    return build_model("pspnet:mobilenet_v2", 4, 0, norm="frozen-batch", weights=weights)


def statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def test_a_frozen_batch_norm_is_a_batch_norm_in_evaluation():
    norm = measured(nn.BatchNorm2d(5, eps=1e-3)).eval()
    frozen = replace_batch_norms(norm, [""])
    features = torch.randn(3, 5, 4, 6)
    assert isinstance(frozen, FrozenBatchNorm2d)
    torch.testing.assert_close(frozen(features), norm(features))
    assert not list(frozen.parameters())
    assert "5, eps=0.001" in repr(frozen)


def test_nothing_thaws_it(model):
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = model.eval()(images)
        for again in (model.train(), model.train(True).requires_grad_(True), copy.deepcopy(model)):
            torch.testing.assert_close(again(images), expected)


def test_no_step_moves_its_statistics(model):
    before, start = statistics(model), copy.deepcopy(model.state_dict())
    step = PrivateStep(
        model, "ew", noise_multiplier=1.0, max_grad_norm=1.0, learning_rate=0.1, expected_batch=2.0
    )
    torch.manual_seed(0)
    for _ in range(2):
        step(torch.randn(2, 3, 32, 32), torch.randint(4, (2, 32, 32)))
    assert before
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert all(not torch.equal(model.state_dict()[name], start[name]) for name in trainable)


def test_an_output_does_not_depend_on_the_other_images(model):
    torch.manual_seed(0)
    images = torch.randn(3, 3, 32, 32)
    others = torch.cat([images[:1], 9 * torch.randn(2, 3, 32, 32) + 5])
    with torch.no_grad():
        one, other, alone = (model.train()(x)[0] for x in (images, others, images[:1]))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one, alone, rtol=1e-4, atol=1e-5)


def test_its_state_survives_a_round_trip(model, weights):
    fresh = build_model("pspnet:mobilenet_v2", 4, 1, norm="frozen-batch", weights=weights)
    fresh.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(fresh(images), model(images))
    given = trained_encoder()
    assert torch.equal(
        model.state_dict()["network.encoder.features.0.1.running_var"],
        given["features.0.1.running_var"],
    )


@pytest.mark.parametrize("mode", ["hooks", "ew", "functorch", "ghost"])
def test_opacus_takes_it_exactly(model, mode):
    assert ModuleValidator.validate(model) == []
    assert largest_error(model, mode) < 1e-12


def test_only_what_the_file_measures_is_frozen(model, weights):
    kinds = {
        part: {
            type(module)
            for name, module in model.named_modules()
            if f".{part}." in name and isinstance(module, FrozenBatchNorm2d | nn.GroupNorm)
        }
        for part in ("encoder", "decoder")
    }
    assert kinds == {"encoder": {FrozenBatchNorm2d}, "decoder": {nn.GroupNorm}}
    built = build(ModelSpec("pspnet:mobilenet_v2", "frozen-batch", weights), 4, 0)
    assert built.weights is not None
    assert len(built.weights.frozen) == sum(
        isinstance(m, FrozenBatchNorm2d) for m in built.model.modules()
    )


def test_freezing_needs_statistics(tmp_path):
    with pytest.raises(InputError, match="weights must be given for norm frozen-batch"):
        ModelSpec("pspnet", "frozen-batch")
    path = tmp_path / "plain.pt"
    torch.save(build_model("small-unet", 3, 0).state_dict(), path)
    with pytest.raises(InputError, match="statistics of the model's BatchNorms"):
        build_model("small-unet", 3, 0, norm="frozen-batch", weights=WeightsFile(path))
    with pytest.raises(InputError, match="norm must be BatchNorms with scale"):
        replace_batch_norms(nn.Sequential(nn.BatchNorm2d(3, affine=False)), ["0"])


def test_group_norm_keeps_scale_and_shift():
    model = nn.Sequential(measured(nn.BatchNorm2d(64)), nn.BatchNorm2d(12, affine=False))
    scale = model[0].weight.clone()
    grouped = replace_batch_norms(model)
    assert [type(m) for m in grouped] == [nn.GroupNorm, nn.GroupNorm]
    assert [m.num_groups for m in grouped] == [32, 4]
    assert torch.equal(grouped[0].weight, scale)
    assert not grouped[1].affine


@pytest.mark.parametrize("frozen", [(), ("0",)])
def test_the_activation_inside_timms_norm_is_kept(frozen):
    from timm.layers import BatchNormAct2d

    norm = measured(BatchNormAct2d(8)).eval()
    features = torch.randn(2, 8, 5, 5)
    expected = norm(features)
    replaced = replace_batch_norms(nn.Sequential(norm), frozen)
    found = replaced.train()(features)
    assert bool((found >= 0).all())
    assert bool((found == 0).any())
    if frozen:
        torch.testing.assert_close(found, expected)
