import pytest
import torch
from torch import nn

from cropaudit.errors import InputError
from cropaudit.training import utility
from cropaudit.training.data import IGNORE, SegmentationData
from cropaudit.training.losses import prepare
from cropaudit.training.models import build_model
from cropaudit.training.utility import mean_iou

CLASSES = ("sky", "road", "car", "plate")


def dataset(*masks: torch.Tensor) -> SegmentationData:
    stream = torch.Generator().manual_seed(0)
    images = tuple(
        torch.randint(256, (3, *mask.shape), generator=stream, dtype=torch.uint8) for mask in masks
    )
    return SegmentationData(
        images, masks, CLASSES, tuple(str(i) for i in range(len(masks))), "test"
    )


def slow_iou(model: nn.Module, data: SegmentationData) -> list[float | None]:
    counts = [[0, 0, 0] for _ in CLASSES]  # both, labelled, predicted
    for image, mask in zip(data.images, data.masks, strict=True):
        with torch.no_grad():
            predicted = model(prepare(image[None]))[0].argmax(dim=0)
        for label, guess in zip(mask.flatten().tolist(), predicted.flatten().tolist(), strict=True):
            if label != IGNORE:
                counts[label][1] += 1
                counts[guess][2] += 1
                counts[label][0] += label == guess
    return [c[0] / (c[1] + c[2] - c[0]) if c[1] + c[2] else None for c in counts]


@pytest.mark.parametrize("pixels", [2**20, 900])
def test_it_is_the_slow_count(monkeypatch, pixels):
    monkeypatch.setattr(utility, "_PIXELS", pixels)
    stream = torch.Generator().manual_seed(1)
    masks = [
        torch.randint(4, size, generator=stream, dtype=torch.uint8)
        for size in [(20, 24), (17, 33), (20, 24), (20, 24), (50, 30)]
    ]
    masks[2][:10] = IGNORE
    data, model = dataset(*masks), build_model("small-unet", 4, 3)
    result, expected = mean_iou(model, data), slow_iou(model, data)
    assert list(result.per_class.values()) == pytest.approx(expected)
    assert list(result.per_class) == list(CLASSES)
    assert result.miou == pytest.approx(sum(expected) / 4)
    assert result.images == 5
    assert model.training


class Constant(nn.Module):
    """Predicts class 1 everywhere."""

    def forward(self, images):
        logits = torch.zeros(len(images), len(CLASSES), *images.shape[-2:])
        logits[:, 1] = 1
        return logits


def test_classes_that_occur_nowhere_are_left_out():
    mask = torch.zeros(6, 8, dtype=torch.uint8)
    mask[:, :4] = 1
    result = mean_iou(Constant(), dataset(mask))
    assert result.per_class == {"sky": 0.0, "road": 0.5, "car": None, "plate": None}
    assert result.miou == 0.25


def test_unlabelled_pixels_do_not_count_as_predictions():
    mask = torch.full((6, 8), IGNORE, dtype=torch.uint8)
    mask[0] = 1
    assert mean_iou(Constant(), dataset(mask)).miou == 1.0


def test_no_labelled_pixel_is_refused():
    with pytest.raises(InputError, match="masks must have a labelled pixel, got none in test"):
        mean_iou(Constant(), dataset(torch.full((6, 8), IGNORE, dtype=torch.uint8)))
