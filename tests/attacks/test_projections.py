"""Projections of clipped gradients: exact on real models, in memory that does not grow."""

import pytest
import torch
from torch import Tensor, nn

from cropaudit.attacks.projections import Projector, clip_factors
from cropaudit.errors import InputError
from cropaudit.training.data import IGNORE
from cropaudit.training.losses import pixel_losses
from cropaudit.training.models import build_model
from cropaudit.training.peak_memory import PeakMemory

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = 5


def shown(count: int, side: int, kind: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, side, side, generator=stream).to(kind)
    masks = torch.randint(CLASSES, (count, side, side), generator=stream)
    masks[0, : side // 2] = IGNORE
    return images, masks


def direction(model: nn.Module) -> Tensor:
    size = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return torch.randn(size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def gradients(model: nn.Module, images: Tensor, masks: Tensor) -> Tensor:
    """Gradients (N, P) by one backward pass for each image."""
    rows = []
    for i in range(len(images)):
        model.zero_grad(set_to_none=True)
        torch.autograd.backward(pixel_losses(model(images[[i]]), masks[[i]]).sum())
        parts = [p.grad for p in model.parameters() if p.requires_grad]
        rows.append(torch.cat([part.flatten() for part in parts if part is not None]))
    model.zero_grad(set_to_none=True)
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("name", "side", "count"),
    [
        ("pspnet", 96, 4),
        ("small-unet", 40, 5),
        ("deeplabv3plus:mobilenet_v2", 32, 3),
        ("linknet:mobilenet_v2", 32, 2),  # transposed convolutions: by vmap
        ("lraspp", 32, 2),
    ],
)
def test_exact_on_real_models(name: str, side: int, count: int) -> None:
    model = build_model(name, CLASSES, 0).double()
    images, masks = shown(count, side)
    y = direction(model)
    whole = gradients(model, images, masks)
    norms = whole.norm(dim=1)
    clip = float(norms.median())
    projector = Projector(model, max_grad_norm=clip, chunk=2)
    found = projector.project(images, masks, y)
    near = {"rtol": 1e-8, "atol": 1e-10}
    torch.testing.assert_close(found.norm, norms, **near)
    torch.testing.assert_close(found.dot, whole @ y, **near)
    torch.testing.assert_close(projector.dots(images, masks, y), whole @ y, **near)
    clipped = whole * (clip / norms).clamp(max=1)[:, None]
    torch.testing.assert_close(found.clipped, clipped @ y, **near)
    torch.testing.assert_close(projector.norms(images, masks), norms, **near)
    torch.testing.assert_close(projector.clipped_sum(images, masks), clipped.sum(dim=0), **near)
    assert all(p.grad is None for p in model.parameters())


def test_memory_grows_with_neither_canaries_nor_their_gradients() -> None:
    """24 canaries take the peak of 4, and that lies below 24 gradients: the count is exact."""
    model = build_model("pspnet", CLASSES, 0)
    y = direction(model).float()
    peaks: dict[str, list[int]] = {"project": [], "dots": [], "clipped_sum": []}
    for count in (4, 24):
        images, masks = shown(count, 48, torch.float32)
        projector = Projector(model, max_grad_norm=1.0, chunk=4)
        projector.project(images[:1], masks[:1], y)  # its one check with plain autograd
        for name, found in peaks.items():
            arguments = (images, masks) if name == "clipped_sum" else (images, masks, y)
            with PeakMemory() as memory:
                getattr(projector, name)(*arguments)
            found.append(memory.peak)
    held = 24 * y.numel() * 4
    for name, (few, many) in peaks.items():
        assert many <= few + 24 * 200, f"{name}: some numbers for each canary, and no more"
        assert many < held, name


def test_chunks_change_nothing() -> None:
    model = build_model("small-unet", CLASSES, 0).double()
    images, masks = shown(5, 24)
    y = direction(model)
    one, all_ = (
        Projector(model, max_grad_norm=0.5, chunk=c).project(images, masks, y) for c in (1, None)
    )
    torch.testing.assert_close(one.clipped, all_.clipped, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(one.norm, all_.norm, rtol=1e-10, atol=1e-12)


def test_follows_the_parameters_as_they_change() -> None:
    model = build_model("small-unet", CLASSES, 0).double()
    images, masks = shown(2, 24)
    projector = Projector(model, max_grad_norm=0.5)
    before = projector.norms(images, masks)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05
    after = projector.norms(images, masks)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, gradients(model, images, masks).norm(dim=1))


def test_no_images_and_no_labels() -> None:
    model = build_model("small-unet", CLASSES, 0)
    images, masks = shown(2, 24, torch.float32)
    y = direction(model)
    projector = Projector(model, max_grad_norm=1.0)
    assert projector.project(images[:0], masks[:0], y).clipped.shape == (0,)
    assert projector.dots(images[:0], masks[:0], y).shape == (0,)
    assert not projector.clipped_sum(images[:0], masks[:0]).any()
    nothing = projector.project(images, torch.full_like(masks, IGNORE), y)
    assert not nothing.clipped.any()
    assert not nothing.norm.any()
    assert not projector.clipped_sum(images, torch.full_like(masks, IGNORE)).any()


def test_clip_factors() -> None:
    factors = clip_factors(torch.tensor([0.0, 1e-300, 2.0, 8.0], dtype=torch.float64), 2.0)
    assert factors.tolist() == [1.0, 1.0, 1.0, 0.25]


class Backwards(torch.autograd.Function):
    """Twice its input, with a derivative in reverse mode only."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def setup_context(ctx, inputs, output) -> None: ...

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return 2 * gradient


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        doubled: Tensor = Backwards.apply(x)
        return doubled


def test_what_lacks_a_forward_derivative_goes_backwards() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Doubled(), nn.Conv2d(4, CLASSES, 1))
    model = model.double()
    images, masks = shown(3, 8)
    y = direction(model)
    projector = Projector(model, max_grad_norm=1.0)
    with pytest.raises(Exception, match=r"jvp|forward"):
        projector._forward_mode(images, masks, projector._directions(y))
    torch.testing.assert_close(
        projector.dots(images, masks, y), gradients(model, images, masks) @ y
    )


class Hidden(nn.Module):
    """Uses its layer's weight behind the layer's back."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen: Tensor = self.layer(x)
        return seen + nn.functional.conv2d(x.square(), self.layer.weight)


def test_weights_that_hooks_do_not_see_are_refused() -> None:
    model = Hidden().double()
    images, masks = shown(3, 8)
    with pytest.raises(InputError, match="weights are used by their own modules alone"):
        Projector(model, max_grad_norm=1.0).norms(images, masks)
    with pytest.raises(InputError, match="weights are used by their own modules alone"):
        Projector(model, max_grad_norm=1.0).clipped_sum(images, masks)


def test_refusals() -> None:
    model = build_model("small-unet", CLASSES, 0)
    images, masks = shown(2, 24, torch.float32)
    y = direction(model)
    projector = Projector(model, max_grad_norm=1.0)
    with pytest.raises(InputError, match=r"y must be of shape \(\d+,\), got"):
        projector.project(images, masks, y[1:])
    with pytest.raises(InputError, match="masks must be of shape"):
        projector.dots(images, masks[:, 1:], y)
    with pytest.raises(InputError, match="max_grad_norm must be above 0"):
        Projector(model, max_grad_norm=0.0)
    with pytest.raises(InputError, match="chunk must be at least 1, got 0"):
        Projector(model, max_grad_norm=1.0, chunk=0)
    frozen = build_model("small-unet", CLASSES, 0).requires_grad_(False)
    with pytest.raises(InputError, match="one with a trainable parameter, got none"):
        Projector(frozen, max_grad_norm=1.0).norms(images, masks)
