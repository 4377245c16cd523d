"""Gradients of many models at once, against one model and one image at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cropaudit.accounting.geometry import Size
from cropaudit.errors import InputError
from cropaudit.training.data import IGNORE
from cropaudit.training.initial import GAIN, level_start
from cropaudit.training.losses import logit_gradients, pixel_losses, prepare
from cropaudit.training.models import build_model
from cropaudit.training.scenes import street_scenes
from cropaudit.training.stacked import StackedModels

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = 3


def drawn(rows: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, 3, size, size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    masks = torch.randint(0, CLASSES, (rows, size, size), generator=generator)
    masks[0] = IGNORE  # a row that bears no loss at all
    masks[1:, :, 0] = IGNORE
    return images, masks.to(torch.uint8)


@pytest.mark.numeric
@pytest.mark.parametrize(("name", "size"), [("tiny-net", 17), ("small-unet", 16)])
def test_each_row_is_the_gradient_of_its_own_model(name: str, size: int) -> None:
    """The slow oracle: one module, one image, plain autograd, all in float64."""
    modules = [build_model(name, CLASSES, seed).double() for seed in range(4)]
    models = StackedModels(build_model(name, CLASSES, 9).double())
    rows = torch.stack([models.flatten(module) for module in modules])
    images, masks = drawn(4, size, 1)
    found = models.gradients(rows, images, masks)
    for module, image, mask, row in zip(modules, images, masks, found, strict=True):
        loss = pixel_losses(module(prepare(image[None]).double()), mask[None])[0]
        wanted = torch.autograd.grad(loss, [p for p in module.parameters() if p.requires_grad])
        flat = torch.cat([piece.flatten() for piece in wanted])
        assert torch.allclose(row, flat, rtol=0, atol=1e-12)
    assert not found[0].any()
    logits = models.logits(rows, images)
    assert torch.allclose(logits[2], modules[2](prepare(images[2:3]).double())[0].detach())


@pytest.mark.numeric
def test_clipping_is_opacus_own() -> None:
    models = StackedModels(build_model("tiny-net", CLASSES, 0))
    rows = models.flatten(models.skeleton).expand(5, -1)
    images, masks = drawn(5, 16, 2)
    plain, clipped = models.gradients(rows, images, masks), models.clipped(rows, images, masks, 0.1)
    norms = plain.norm(dim=1)
    assert norms[0] == 0
    assert bool((norms[1:] > 0.1).all())  # all others are clipped here
    expected = plain * (0.1 / (norms + 1e-6)).clamp(max=1.0)[:, None]
    torch.testing.assert_close(clipped, expected, rtol=1e-5, atol=1e-9)
    assert bool((clipped.norm(dim=1) <= 0.1 * (1 + 1e-6)).all())
    torch.testing.assert_close(models.clipped(rows, images, masks, 1e6), plain)


@pytest.mark.numeric
def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    models = StackedModels(build_model("tiny-net", CLASSES, 0))
    rows = torch.stack([models.flatten(build_model("tiny-net", CLASSES, s)) for s in range(7)])
    images, masks = drawn(7, 16, 3)
    whole = models.gradients(rows, images, masks)
    monkeypatch.setattr("cropaudit.training.stacked._ROWS", 3)
    assert torch.allclose(models.gradients(rows, images, masks), whole, atol=1e-7)
    assert models.gradients(rows[:0], images[:0], masks[:0]).shape == (0, models.size)


def test_a_row_is_loaded_into_the_skeleton() -> None:
    models = StackedModels(build_model("tiny-net", CLASSES, 0))
    other = build_model("tiny-net", CLASSES, 1)
    models.load(models.flatten(other))
    theirs = zip(models.skeleton.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(ours, wanted) for ours, wanted in theirs)


@pytest.mark.numeric
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 6), st.floats(0.1, 8.0))
def test_the_gradient_of_the_loss_is_that_of_autograd(seed: int, k: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(3, k, 4, 5, dtype=torch.float64, generator=generator)
    masks = torch.randint(0, k, (3, 4, 5), generator=generator)
    masks[torch.rand(3, 4, 5, generator=generator) < 0.5] = IGNORE
    masks[0] = IGNORE
    leaf = logits.clone().requires_grad_()
    wanted = torch.autograd.grad(pixel_losses(leaf, masks).sum(), leaf)[0]
    assert torch.allclose(logit_gradients(logits, masks), wanted, rtol=0, atol=1e-14)


def test_a_level_start_makes_all_windows_agree() -> None:
    """Gradients of different images agree at the level start and do not at a random one."""
    images = torch.stack(street_scenes(5, Size(32, 32), 0).images)
    labels = torch.full((5, 32, 32), 1, dtype=torch.uint8)
    labels[:, 8:] = IGNORE

    def agreement(start: torch.nn.Module) -> float:
        models = StackedModels(start)
        rows = models.flatten(start).expand(5, -1)
        found = models.clipped(rows, images, labels, 1e-3)
        return float((found.mean(dim=0) / 1e-3).norm())

    level = agreement(level_start(build_model("tiny-net", CLASSES, 0)))
    assert level > 0.97
    assert level > agreement(build_model("tiny-net", CLASSES, 0)) + 0.1


def test_a_level_start_is_what_it_says() -> None:
    model = level_start(build_model("tiny-net", CLASSES, 0))
    head, norm = model.network.head, model.network.features[-2]
    assert not head.weight.any()
    assert not head.bias.any()
    assert bool((norm.weight == GAIN).all())
    assert bool((norm.bias == 1).all())
    with pytest.raises(InputError, match="must end in a convolution or linear layer"):
        level_start(torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1)))
