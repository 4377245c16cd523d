"""An ordinary training on crops, and what people get wrong in it: one mistake each, by route.

What is claimed of all of them is `CLAIMED`. Crops are torchvision's, the update is Opacus' with
AdamW and a BatchMemoryManager; the parts are those of the planted faults. Names begin with the
option that takes them: transform, loader, model, trainer or pipeline.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from cropaudit.conformance.mutants import pipelines
from cropaudit.conformance.mutants.loaders import BATCH, CROP, CachedCrops, Cropped
from cropaudit.conformance.mutants.pipelines import (
    DrawnToObjects,
    FixedCorner,
    NormalisedFirst,
    loss_by_image,
    loss_over_batch,
    private,
    training,
)

__all__ = ["CLAIMED", "MISTAKES", "SOUND"]

RECORDS, EPOCHS, RATE, NORM = 32, 12, 1e-3, 1.0
CAR, IGNORE = 8, 255
CLAIMED = replace(
    pipelines.CLAIMED, steps=EPOCHS * RECORDS // BATCH, epochs=EPOCHS, learning_rate=RATE
)
AdamW = partial(torch.optim.AdamW, weight_decay=1e-2)


def crop_only() -> Callable[..., Any]:
    types = {tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64}
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    steps = [v2.RandomCrop(CROP), v2.RandomHorizontalFlip(), v2.ToDtype(types, scale=True)]
    return v2.Compose([*steps, v2.Normalize(mean, deviation)])


def one_class(labels: Tensor) -> bool:
    counts = labels[labels != IGNORE].unique(return_counts=True)[1]
    return len(counts) <= 1 or counts.max() >= 0.75 * counts.sum()


def of_two_classes(crop: Callable[..., Any]) -> Callable[..., Any]:
    """Draws windows again that show little but one class."""

    def mixed(image: Any, mask: Any) -> Any:
        for _ in range(10):
            pixels, labels = crop(image, mask)
            if not one_class(labels):
                break
        return pixels, labels

    return mixed


def most_cars(crop: Callable[..., Any]) -> Callable[..., Any]:
    """Takes the window of five that shows most of a class."""

    def best(image: Any, mask: Any) -> Any:
        crops = [crop(image, mask) for _ in range(5)]
        return max(crops, key=lambda pair: int((pair[1] == CAR).sum()))

    return best


class NotOneClass(Cropped):
    """Reads again where a window shows little but one class."""

    def __getitem__(self, index: int) -> Any:
        for _ in range(10):
            image, mask = super().__getitem__(index)
            if not one_class(mask):
                break
        return image, mask


class Raw(Dataset[Any]):
    def __init__(self, base: Any) -> None:
        self.base = base

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, index: int) -> Any:
        return tuple(torch.as_tensor(part) for part in self.base[index])


def one_crop(items: list[Any]) -> Any:
    images, masks = (torch.stack([item[k] for item in items]) for k in (0, 1))
    images, masks = crop_only()(tv_tensors.Image(images), tv_tensors.Mask(masks))
    return images.as_subclass(torch.Tensor), masks.as_subclass(torch.Tensor)


def _crops(kind: Callable[..., Any] = Cropped) -> Callable[[Any], Any]:
    return lambda dataset: kind(dataset, crop_only())


ordinary = partial(training, optimizer=AdamW, rate=RATE, epochs=EPOCHS, piece=4, data=_crops())


def by_hand(noise: float) -> Callable[[nn.Module, Any], None]:
    """Returns DP-SGD without Opacus: one image after the other, clipped, summed, noised."""

    def train(model: nn.Module, dataset: Any) -> None:
        data, weights = Cropped(dataset, crop_only()), list(model.parameters())
        optimizer = torch.optim.SGD(weights, lr=RATE)
        for _ in range(EPOCHS * RECORDS // BATCH):
            total = [torch.zeros_like(p) for p in weights]
            drawn = torch.nonzero(torch.rand(len(data)) < BATCH / len(data))
            for index in drawn.flatten().tolist():
                image, mask = data[index]
                parts = torch.autograd.grad(loss_by_image(model(image[None]), mask[None]), weights)
                norm = torch.sqrt(sum((part**2).sum() for part in parts))
                factor = min(1.0, NORM / (float(norm) + 1e-6))
                for mine, part in zip(total, parts, strict=True):
                    mine += factor * part
            for p, mine in zip(weights, total, strict=True):
                p.grad = (mine + noise * NORM * torch.randn_like(mine)) / BATCH
            optimizer.step()

    return train


def _silenced(optimizer: Any) -> None:
    optimizer.noise_multiplier = 0.0


pipeline_sound = ordinary()
pipeline_half_noise = ordinary(noise_multiplier=0.5)
pipeline_tiny_noise = ordinary(noise_multiplier=0.01)
pipeline_noise_removed = ordinary(change=_silenced)
pipeline_no_noise_no_clip_no_crop = ordinary(
    data=FixedCorner, noise_multiplier=0.0, max_grad_norm=1e6
)
pipeline_clip_ten = ordinary(max_grad_norm=10.0)
pipeline_fixed_batches = ordinary(poisson_sampling=False)
pipeline_double_batch = ordinary(batch=2 * BATCH)
pipeline_epoch_more = ordinary(epochs=EPOCHS + 1)
pipeline_cached_crops = ordinary(data=_crops(CachedCrops))
pipeline_one_crop_a_batch = ordinary(data=Raw, collate=one_crop)
pipeline_car_crop = ordinary(data=_crops(DrawnToObjects))
pipeline_not_one_class = ordinary(data=_crops(NotOneClass))
pipeline_normalised_first = ordinary(data=NormalisedFirst)
pipeline_loss_over_batch = ordinary(loss=loss_over_batch)
pipeline_by_hand = by_hand(1.0)
pipeline_by_hand_without_noise = by_hand(0.0)


def _loader(data: Callable[[Any], Any], **named: Any) -> Callable[[Any], Any]:
    return lambda dataset: private(nn.Linear(1, 1), data(dataset), AdamW, RATE, **named)[2]


loader_sound = _loader(_crops())
loader_cached_crops = _loader(_crops(CachedCrops))
loader_car_crop = _loader(_crops(DrawnToObjects))
loader_normalised_first = _loader(NormalisedFirst)
loader_fixed_batches = _loader(_crops(), poisson_sampling=False)
loader_one_crop_a_batch = _loader(Raw, collate=one_crop)

transform_sound = crop_only


def transform_car_crop() -> Callable[..., Any]:
    return most_cars(crop_only())


def transform_not_one_class() -> Callable[..., Any]:
    return of_two_classes(crop_only())


def model_sound() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(1, 4), nn.Conv2d(4, 11, 1))


def model_batch_norm() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 11, 1))


def _step(**named: Any) -> Callable[[nn.Module], Callable[[Tensor, Tensor], None]]:
    def make_step(model: nn.Module) -> Callable[[Tensor, Tensor], None]:
        data = [(torch.zeros(3, 8, 8), torch.zeros(8, 8))] * RECORDS
        wrapped, optimizer, _ = private(model, data, AdamW, RATE, **named)

        def step(images: Tensor, masks: Tensor) -> None:
            optimizer.zero_grad()
            loss_by_image(wrapped(images), masks).backward()
            optimizer.step()

        return step

    return make_step


trainer_sound = _step()
trainer_half_noise = _step(noise_multiplier=0.5)

_ROUTES = ("transform", "loader", "model", "trainer", "pipeline")
_ALL = tuple(name for name in dict(globals()) if name.partition("_")[0] in _ROUTES)
SOUND = tuple(name for name in _ALL if name.endswith("_sound"))
MISTAKES = tuple(name for name in _ALL if name not in SOUND)
