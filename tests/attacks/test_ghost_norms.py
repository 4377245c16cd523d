"""Ghost norms and projections against plain autograd, one image at a time, in float64."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from cropaudit.attacks import ghost_norms, layer_terms
from cropaudit.attacks.ghost_norms import ghost_terms
from cropaudit.errors import InputError
from cropaudit.training.losses import pixel_losses

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = 4


def agrees(model: nn.Module, count: int = 3, side: int = 9, seed: int = 0) -> None:
    """Compares norms and projections on random images with one backward pass for each image."""
    stream = torch.Generator().manual_seed(seed)
    model = model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=stream) / 2)
    images = torch.randn(count, 3, side, side + 2, generator=stream, dtype=torch.float64)
    height, width = model(images).shape[2:]
    masks = torch.randint(CLASSES, (count, height, width), generator=stream)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    y = {
        name: torch.randn(p.shape, generator=stream, dtype=torch.float64)
        for name, p in trainable.items()
    }
    found = ghost_terms(model, images, masks, y)
    squares, dots = [], []
    for i in range(count):
        loss = pixel_losses(model(images[[i]]), masks[[i]]).sum()
        taken = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
        pairs = [(g, y[n]) for g, n in zip(taken, trainable, strict=True) if g is not None]
        squares.append(sum(g.square().sum() for g, _ in pairs))
        dots.append(sum((g * d).sum() for g, d in pairs))
    for got, plain in ((found.square, squares), (found.dot, dots)):
        expected = torch.stack([torch.as_tensor(value) for value in plain])
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)
    assert all(p.grad is None for p in model.parameters()), "the model is left as it was"
    assert not any(m._forward_hooks for m in model.modules())


class Net(nn.Module):
    """A network whose forward pass is any function of its layers and the images."""

    def __init__(self, forward: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.pass_ = forward

    def forward(self, images: Tensor) -> Tensor:
        return self.pass_(self.layers, images)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=60, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.one_of(
        st.tuples(st.integers(0, 3), st.integers(0, 3)), st.sampled_from(["valid", "same"])
    ),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.sampled_from([1, 2, 4]),
    outputs=st.integers(1, 3),
    bias=st.booleans(),
    mode=st.sampled_from(["zeros", "reflect", "circular", "replicate"]),
    entries=st.sampled_from([1, 2**23]),
    seed=st.integers(0, 10**6),
)
def test_convolutions_of_any_shape(
    kernel, stride, padding, dilation, groups, outputs, bias, mode, entries, seed
) -> None:
    """Two layers: the second one's inputs have a graph. Scratch of one entry: image by image."""
    stride = (1, 1) if padding == "same" else stride
    wide = nn.Conv2d(3, 4, 3, padding=1)
    shaped = nn.Conv2d(
        4,
        groups * outputs,
        kernel,
        stride,
        padding,  # type: ignore[arg-type]
        dilation,
        groups,
        bias,
        padding_mode=mode,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_terms, "_ENTRIES", entries)
        model = nn.Sequential(wide, nn.Tanh(), shaped, nn.Conv2d(groups * outputs, CLASSES, 1))
        agrees(model, seed=seed)


def test_padding_changed_after_the_layer_was_made() -> None:
    """As segmentation_models_pytorch dilates encoders: torch reads ``padding`` alone."""
    layer = nn.Conv2d(3, CLASSES, 3, padding=1)
    layer.stride, layer.dilation, layer.padding = (1, 1), (2, 2), (2, 2)
    agrees(layer)


@pytest.mark.numeric
@pytest.mark.parametrize("use", [layer_terms._gram, layer_terms._whole])
def test_both_forms_are_those_of_the_whole_gradient(use) -> None:
    stream = torch.Generator().manual_seed(0)
    before = torch.randn(3, 2, 5, 7, generator=stream, dtype=torch.float64)
    after = torch.randn(3, 2, 4, 7, generator=stream, dtype=torch.float64)
    direction = torch.randn(2, 4, 5, generator=stream, dtype=torch.float64)
    whole = torch.einsum("ngot,ngkt->ngok", after, before)
    square, dot = use(before, after, direction)
    torch.testing.assert_close(square, whole.square().sum(dim=(1, 2, 3)))
    torch.testing.assert_close(dot, (whole * direction).sum(dim=(1, 2, 3)))


def channels_last(layers: nn.ModuleDict, x: Tensor) -> Tensor:
    features = functional.gelu(layers["a"](x.permute(0, 2, 3, 1)))
    return layers["b"](features).permute(0, 3, 1, 2)


def twice(layers: nn.ModuleDict, x: Tensor) -> Tensor:
    first = torch.tanh(layers["norm"](layers["b"](layers["a"](x))))
    halved = functional.avg_pool2d(first, 2)
    second = torch.tanh(layers["norm"](layers["b"](halved)))
    return layers["c"](first[..., : second.shape[2], : second.shape[3]] + second)


def windows_first(layers: nn.ModuleDict, x: Tensor) -> Tensor:
    rows = x.unfold(2, 3, 3).flatten(0, 0).permute(0, 2, 3, 4, 1).flatten(0, 1)
    halves = layers["a"](rows)  # its first axis counts rows of images
    return halves.unflatten(0, (len(x), -1)).permute(0, 4, 1, 2, 3).flatten(3)


def first_in_place(layers: nn.ModuleDict, x: Tensor) -> Tensor:
    return layers["b"](functional.leaky_relu(layers["a"](x), inplace=True))


NETS = {
    "linear": Net(channels_last, a=nn.Linear(3, 5), b=nn.Linear(5, CLASSES, bias=False)),
    "one layer used twice": Net(
        twice,
        a=nn.Conv2d(3, 4, 1),
        b=nn.Conv2d(4, 4, 3, padding=1),
        norm=nn.GroupNorm(2, 4),
        c=nn.Conv2d(4, CLASSES, 1),
    ),
    "first axis is not the images'": Net(windows_first, a=nn.Linear(3, CLASSES)),
    "in place": Net(first_in_place, a=nn.Conv2d(3, 4, 3), b=nn.Conv2d(4, CLASSES, 1)),
    "group norm": nn.Sequential(nn.Conv2d(3, 6, 3), nn.GroupNorm(3, 6), nn.Conv2d(6, CLASSES, 1)),
    "unknown layers": nn.Sequential(
        nn.ConvTranspose2d(3, 6, 3, 2), nn.PReLU(6), nn.InstanceNorm2d(6, affine=True)
    ),
    "first layer frozen": nn.Sequential(
        nn.Conv2d(3, 6, 3).requires_grad_(False), nn.Tanh(), nn.Conv2d(6, CLASSES, 3)
    ),
    "unused layer": Net(lambda m, x: m["a"](x), a=nn.Conv2d(3, CLASSES, 1), b=nn.Conv2d(3, 2, 1)),
    "unread output": Net(
        lambda m, x: m["a"](x) + 0 * m["b"](x).sum().detach(),
        a=nn.Conv2d(3, CLASSES, 1),
        b=nn.Conv2d(3, 2, 1),
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_networks(name: str) -> None:
    agrees(NETS[name])


def test_only_part_of_a_layer_trains() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6), nn.Conv2d(6, CLASSES, 1))
    model[0].bias.requires_grad_(False)
    model[1].weight.requires_grad_(False)
    model[2].weight.requires_grad_(False)
    agrees(model)


def test_a_parameter_of_two_layers() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Tanh(), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 1))
    model[2].weight = model[0].weight
    agrees(model)


def test_batch_norm_in_evaluation_mode_only() -> None:
    norm = nn.BatchNorm2d(6)
    norm.running_mean = torch.randn(6, generator=torch.Generator().manual_seed(1)).double()
    norm.running_var = torch.linspace(0.3, 2, 6).double()
    model = nn.Sequential(nn.Conv2d(3, 6, 3), norm, nn.Tanh(), nn.Conv2d(6, CLASSES, 1))
    agrees(model.eval())
    with pytest.raises(InputError, match="batch normalisation is in evaluation mode, got 1"):
        agrees(model.train())


def test_few_images_at_a_time_where_gradients_are_held(monkeypatch) -> None:
    monkeypatch.setattr(ghost_norms, "_ENTRIES", 1)
    agrees(nn.ConvTranspose2d(3, CLASSES, 3), count=4)


def test_unlabelled_images_give_exactly_nothing() -> None:
    model = nn.Conv2d(3, CLASSES, 3, padding=1)
    images = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    masks = torch.full((2, 6, 6), 255)
    y = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    found = ghost_terms(model, images, masks, y)
    assert not found.square.any()
    assert not found.dot.any()
