"""Black-box attack: signs, symmetry, and independence from batching and order."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.attacks.black_box import black_box_scores
from cropaudit.attacks.white_box import slot_crops
from cropaudit.training.canaries import CanarySlot, add_slots
from cropaudit.training.data import IGNORE, SegmentationData
from cropaudit.training.losses import prepare
from cropaudit.training.models import build_model

CROP = Crop(Size(16, 18), padding=2)


pytestmark = pytest.mark.usefixtures("one_thread")


def canaries(count: int) -> tuple[SegmentationData, tuple[CanarySlot, ...]]:
    stream = torch.Generator().manual_seed(3)
    images = tuple(
        torch.randint(256, (3, 24, 28), generator=stream, dtype=torch.uint8) for _ in range(3)
    )
    masks = tuple(torch.zeros(24, 28, dtype=torch.uint8) for _ in range(3))
    data = SegmentationData(images, masks, ("a", "b", "c", "d"), ("1", "2", "3"), "test")
    return add_slots(data, count, CROP, Rectangle(Size(8, 8)), seed=2)


class Constant(nn.Module):
    """Gives every pixel of every image the same logits."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images: Tensor) -> Tensor:
        shape = (len(images), len(self.logits), *images.shape[2:])
        return self.logits[None, :, None, None].expand(shape)


def test_score_is_the_gap_of_the_mean_losses_on_the_patch() -> None:
    """With constant logits a label costs the same everywhere, so the gap is a closed form."""
    data, slots = canaries(5)
    model = Constant([0.3, -1.0, 2.0, 0.5])
    losses = -torch.log_softmax(model.logits.detach(), dim=0)
    found = black_box_scores(model, data, slots, CROP, windows=3, seed=1)
    expected = [
        float(losses[s.labels_b.long()].mean() - losses[s.labels_a.long()].mean()) for s in slots
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_model_that_fits_world_a_scores_high() -> None:
    """A model that knows one slot's labels gives it a high score, in world B a low one."""
    data, slots = canaries(1)
    for labels, sign in ((slots[0].labels_a, 1), (slots[0].labels_b, -1)):
        logits = [4.0 if label in labels.unique().tolist() else 0.0 for label in range(4)]
        found = black_box_scores(Constant(logits), data, slots, CROP, windows=1, seed=0)
        assert sign * found[0] > 3.9


def test_scores_average_over_windows_and_do_not_depend_on_batching() -> None:
    """70 slots need several batches; the slow oracle goes crop by crop."""
    data, slots = canaries(70)
    model = build_model("small-unet", 4, 0)
    found = black_box_scores(model, data, slots, CROP, windows=2, seed=7)
    stream = torch.Generator().manual_seed(7)
    total = np.zeros(70)
    for _ in range(2):
        images, masks = slot_crops(data, slots, CROP, stream, covering=True)
        losses = []
        for image, mask in zip(images, masks, strict=True):
            with torch.no_grad():
                logs = torch.log_softmax(model(prepare(image[None]))[0], dim=0)
            rows, columns = torch.nonzero(mask != IGNORE, as_tuple=True)
            classes = mask[rows, columns].long()
            losses.append(-float(logs[classes, rows, columns].mean()))
        total += np.subtract(losses[70:], losses[:70])
    np.testing.assert_allclose(found, total / 2, rtol=1e-3, atol=1e-5)
    assert found.dtype == np.float64


def test_scores_are_reproducible_and_leave_the_model_alone() -> None:
    data, slots = canaries(4)
    model = build_model("small-unet", 4, 0)
    before = [p.detach().clone() for p in model.parameters()]
    torch.manual_seed(1)
    first = black_box_scores(model, data, slots, CROP, windows=2, seed=7)
    torch.manual_seed(2)
    assert np.array_equal(first, black_box_scores(model, data, slots, CROP, windows=2, seed=7))
    for old, now in zip(before, model.parameters(), strict=True):
        assert torch.equal(old, now)
        assert now.grad is None
