from dataclasses import replace

import pytest
import torch
from torch import nn

from cropaudit.accounting.bounds.accountant import epsilon_at
from cropaudit.accounting.geometry.shapes import Crop, Size
from cropaudit.accounting.mechanisms.registry import parse_mechanism
from cropaudit.errors import InputError
from cropaudit.training.data.images import IGNORE, SegmentationData
from cropaudit.training.dpsgd.loop import DpSgdSpec, train
from cropaudit.training.ensembles import utility
from cropaudit.training.ensembles.utility import mean_iou, uncredited_noise
from cropaudit.training.models.build import build_model
from cropaudit.training.models.losses import prepare
from cropaudit.training.sampling.samplers import Poisson

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


@pytest.mark.parametrize(
    "text", ["poisson:noise=1,q=0.1,rho=0.2,steps=50", "shuffle:noise=2,q=0.5,rho=0.1,steps=8"]
)
def test_without_credit_the_noise_gives_the_same_epsilon(text):
    claim = parse_mechanism(text)
    noise = uncredited_noise(claim, 1e-5)
    assert noise > 1.2 * claim.noise_multiplier
    plain = claim.without_crop().with_noise(noise)
    assert epsilon_at(plain, 1e-5) == pytest.approx(epsilon_at(claim, 1e-5), rel=1e-3)
    assert epsilon_at(plain, 1e-5) <= epsilon_at(claim, 1e-5) * (1 + 1e-6)


def test_without_a_crop_there_is_no_credit_to_lose():
    claim = parse_mechanism("fixed:noise=1.5,q=0.1,rho=1,steps=20")
    assert uncredited_noise(claim, 1e-5) == pytest.approx(1.5, rel=1e-3)


@pytest.mark.usefixtures("one_thread")
def test_noise_changes_neither_batches_nor_windows_nor_the_start():
    """So that a baseline's mIoU differs by what noise costs, and by nothing else."""
    sides = Crop(Size(16, 16))
    data = dataset(*(torch.zeros(20, 20, dtype=torch.uint8) for _ in range(4)))
    spec = DpSgdSpec("small-unet", sides, Poisson(0.5), 4, 1.0, 0.01, 0.5, seed=1)
    private, *others = (
        train(data, replace(spec, noise_multiplier=noise), device=torch.device("cpu"))
        for noise in (1.0, 0.0, 3.0)
    )
    for step in range(4):
        for other in others:
            assert other.transcript.batch(step) == private.transcript.batch(step)
            assert other.transcript.windows_of(step) == private.transcript.windows_of(step)
    for other in others:
        assert all(
            torch.equal(other.initial[name], private.initial[name]) for name in other.initial
        )
