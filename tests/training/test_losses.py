import pytest
import torch

from cropaudit.training.data import IGNORE
from cropaudit.training.losses import pixel_losses, prepare


def test_each_image_is_averaged_over_its_labelled_pixels():
    torch.manual_seed(0)
    logits = torch.randn(3, 5, 6, 7, dtype=torch.float64)
    masks = torch.randint(5, (3, 6, 7), dtype=torch.uint8)
    masks[0, :3] = IGNORE
    masks[2, 1, 1] = IGNORE
    for image, loss in enumerate(pixel_losses(logits, masks)):
        terms = [
            -torch.log_softmax(logits[image, :, row, column], dim=0)[int(label)]
            for row, line in enumerate(masks[image])
            for column, label in enumerate(line)
            if label != IGNORE
        ]
        assert float(loss) == pytest.approx(float(sum(terms)) / len(terms), rel=1e-12)


def test_an_image_without_labels_adds_exactly_nothing():
    logits = torch.randn(2, 4, 5, 5, requires_grad=True)
    masks = torch.full((2, 5, 5), IGNORE, dtype=torch.uint8)
    masks[1] = 2
    losses = pixel_losses(logits, masks)
    losses.sum().backward()
    assert losses[0].item() == 0.0
    assert torch.equal(logits.grad[0], torch.zeros(4, 5, 5))
    assert float(logits.grad[1].abs().sum()) > 0


def test_vmap_of_gradients_is_possible():
    logits = torch.randn(3, 4, 5, 5)
    masks = torch.randint(4, (3, 5, 5))
    masks[1] = IGNORE
    gradients = torch.func.vmap(
        torch.func.grad(lambda one, mask: pixel_losses(one[None], mask[None]).sum())
    )(logits, masks)
    assert torch.isfinite(gradients).all()
    assert not gradients[1].any()


def test_scaling_looks_at_one_pixel_only():
    images = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
    changed = images.clone()
    changed[0, 0, 0, 0] ^= 255
    moved = prepare(changed) != prepare(images)
    assert moved.sum() == 1
    assert prepare(images).dtype == torch.float32
    assert torch.equal(prepare(images[1:2]), prepare(images)[1:2])
