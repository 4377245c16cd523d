"""An ordinary training on crops, and what people get wrong in it: one mistake each, by route.

What is claimed of all of them is `CLAIMED`. Crops are torchvision's, the update is Opacus'. Names
begin with the option that takes them: transform, loader, model, trainer or pipeline.
"""

from collections.abc import Callable
from typing import Any

import torch
from opacus import PrivacyEngine
from opacus.utils.batch_memory_manager import BatchMemoryManager
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.audit.conformance.claimed import Claimed

__all__ = ["CLAIMED", "MISTAKES", "SOUND"]

BATCH, RECORDS, EPOCHS, CROP = 8, 32, 12, 32
NOISE, NORM, RATE = 1.0, 1.0, 1e-3
CAR, IGNORE = 8, 255
CLAIMED = Claimed(
    image=Size(48, 64),
    patch=Rectangle(Size(8, 8)),
    crop=Crop(Size(CROP, CROP)),
    sampler="poisson",
    batch=BATCH,
    records=RECORDS,
    steps=EPOCHS * RECORDS // BATCH,
    epochs=EPOCHS,
    noise_multiplier=NOISE,
    max_grad_norm=NORM,
    learning_rate=RATE,
)


def crop_only() -> Callable[..., Any]:
    types = {tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64}
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return v2.Compose(
        [
            v2.RandomCrop(CROP),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(types, scale=True),
            v2.Normalize(mean, deviation),
        ]
    )


def loss_by_image(logits: Tensor, masks: Tensor) -> Tensor:
    each = functional.cross_entropy(logits, masks, ignore_index=IGNORE, reduction="none")
    return each.flatten(1).mean(1).mean()


def loss_over_batch(logits: Tensor, masks: Tensor) -> Tensor:
    return functional.cross_entropy(logits, masks, ignore_index=IGNORE)


class Cropped(Dataset[Any]):
    def __init__(self, base: Any) -> None:
        self.base, self.transform = base, crop_only()

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, index: int) -> Any:
        image, mask = self.base[index]
        image, mask = self.transform(tv_tensors.Image(image), tv_tensors.Mask(mask))
        return image.as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor)


class Cached(Cropped):
    def __init__(self, base: Any) -> None:
        super().__init__(base)
        self.kept: dict[int, Any] = {}

    def __getitem__(self, index: int) -> Any:
        if index not in self.kept:
            self.kept[index] = super().__getitem__(index)
        return self.kept[index]


class MostCar(Cropped):
    def __getitem__(self, index: int) -> Any:
        crops = [super(MostCar, self).__getitem__(index) for _ in range(5)]
        return max(crops, key=lambda crop: int((crop[1] == CAR).sum()))


class NotOneClass(Cropped):
    def __getitem__(self, index: int) -> Any:
        for _ in range(10):
            image, mask = super().__getitem__(index)
            counts = mask[mask != IGNORE].unique(return_counts=True)[1]
            if len(counts) > 1 and counts.max() < 0.75 * counts.sum():
                break
        return image, mask


class NormalisedFirst(Cropped):
    def __getitem__(self, index: int) -> Any:
        image, mask = self.base[index]
        pixels = torch.as_tensor(image).float()
        pixels = (pixels - pixels.mean()) / (pixels.std() + 1e-6)
        crop = v2.RandomCrop(CROP)
        pixels, mask = crop(tv_tensors.Image(pixels), tv_tensors.Mask(mask))
        return pixels.as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor).long()


class FixedCorner(Cropped):
    def __getitem__(self, index: int) -> Any:
        image, mask = self.base[index]
        window = slice(0, CROP), slice(0, CROP)
        pixels = torch.as_tensor(image)[:, *window].float() / 255
        return pixels, torch.as_tensor(mask)[window].long()


class Raw(Dataset[Any]):
    def __init__(self, base: Any) -> None:
        self.base = base

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, index: int) -> Any:
        image, mask = self.base[index]
        return torch.as_tensor(image), torch.as_tensor(mask)


def one_crop(items: list[Any]) -> Any:
    images, masks = (torch.stack([item[k] for item in items]) for k in (0, 1))
    images, masks = crop_only()(tv_tensors.Image(images), tv_tensors.Mask(masks))
    return images.as_subclass(torch.Tensor), masks.as_subclass(torch.Tensor)


def private(model: nn.Module, data: Any, **named: Any) -> tuple[Any, Any, Any]:
    settings = {"noise_multiplier": NOISE, "max_grad_norm": NORM, "poisson_sampling": True}
    collate = named.pop("collate", None)
    batch = named.pop("batch", BATCH)
    return PrivacyEngine().make_private(
        module=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-2),
        data_loader=DataLoader(data, batch_size=batch, shuffle=True, collate_fn=collate),
        **{**settings, **named},
    )


def train(
    model: nn.Module,
    data: Any,
    *,
    loss: Callable[[Tensor, Tensor], Tensor] = loss_by_image,
    change: Callable[[Any], None] | None = None,
    epochs: int = EPOCHS,
    **named: Any,
) -> None:
    model, optimizer, loader = private(model, data, **named)
    if change is not None:
        change(optimizer)
    for _ in range(epochs):
        with BatchMemoryManager(
            data_loader=loader, max_physical_batch_size=4, optimizer=optimizer
        ) as pieces:
            for images, masks in pieces:
                optimizer.zero_grad()
                loss(model(images), masks).backward()
                optimizer.step()


def by_hand(model: nn.Module, data: Any, noise: float) -> None:
    """DP-SGD without Opacus: one image after the other, clipped, summed, noised."""
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    weights = list(model.parameters())
    for _ in range(EPOCHS * RECORDS // BATCH):
        total = [torch.zeros_like(p) for p in weights]
        for index in torch.nonzero(torch.rand(len(data)) < BATCH / len(data)).flatten().tolist():
            image, mask = data[index]
            parts = torch.autograd.grad(loss_by_image(model(image[None]), mask[None]), weights)
            norm = torch.sqrt(sum((part**2).sum() for part in parts))
            factor = min(1.0, NORM / (float(norm) + 1e-6))
            for mine, part in zip(total, parts, strict=True):
                mine += factor * part
        for p, mine in zip(weights, total, strict=True):
            p.grad = (mine + noise * NORM * torch.randn_like(mine)) / BATCH
        optimizer.step()


def pipeline_sound(model: Any, dataset: Any) -> None:
    train(model, Cropped(dataset))


def pipeline_half_noise(model: Any, dataset: Any) -> None:
    train(model, Cropped(dataset), noise_multiplier=NOISE / 2)


def pipeline_tiny_noise(model: Any, dataset: Any) -> None:
    train(model, Cropped(dataset), noise_multiplier=0.01)


def pipeline_noise_removed(model: Any, dataset: Any) -> None:
    def change(optimizer: Any) -> None:
        optimizer.noise_multiplier = 0.0

    train(model, Cropped(dataset), change=change)


def pipeline_no_noise_no_clip_no_crop(model: Any, dataset: Any) -> None:
    train(model, FixedCorner(dataset), noise_multiplier=0.0, max_grad_norm=1e6)


def pipeline_clip_ten(model: Any, dataset: Any) -> None:
    train(model, Cropped(dataset), max_grad_norm=10.0)


def pipeline_fixed_batches(model: Any, dataset: Any) -> None:
    train(model, Cropped(dataset), poisson_sampling=False)


def pipeline_double_batch(model: Any, dataset: Any) -> None:
    train(model, Cropped(dataset), batch=2 * BATCH)


def pipeline_epoch_more(model: Any, dataset: Any) -> None:
    train(model, Cropped(dataset), epochs=EPOCHS + 1)


def pipeline_cached_crops(model: Any, dataset: Any) -> None:
    train(model, Cached(dataset))


def pipeline_one_crop_a_batch(model: Any, dataset: Any) -> None:
    train(model, Raw(dataset), collate=one_crop)


def pipeline_car_crop(model: Any, dataset: Any) -> None:
    train(model, MostCar(dataset))


def pipeline_not_one_class(model: Any, dataset: Any) -> None:
    train(model, NotOneClass(dataset))


def pipeline_normalised_first(model: Any, dataset: Any) -> None:
    train(model, NormalisedFirst(dataset))


def pipeline_loss_over_batch(model: Any, dataset: Any) -> None:
    train(model, Cropped(dataset), loss=loss_over_batch)


def pipeline_by_hand(model: Any, dataset: Any) -> None:
    by_hand(model, Cropped(dataset), NOISE)


def pipeline_by_hand_without_noise(model: Any, dataset: Any) -> None:
    by_hand(model, Cropped(dataset), 0.0)


def _loader(data: Any, **named: Any) -> Any:
    return private(nn.Linear(1, 1), data, **named)[2]


def loader_sound(dataset: Any) -> Any:
    return _loader(Cropped(dataset))


def loader_cached_crops(dataset: Any) -> Any:
    return _loader(Cached(dataset))


def loader_car_crop(dataset: Any) -> Any:
    return _loader(MostCar(dataset))


def loader_normalised_first(dataset: Any) -> Any:
    return _loader(NormalisedFirst(dataset))


def loader_fixed_batches(dataset: Any) -> Any:
    return _loader(Cropped(dataset), poisson_sampling=False)


def loader_one_crop_a_batch(dataset: Any) -> Any:
    return _loader(Raw(dataset), collate=one_crop)


def transform_sound() -> Callable[..., Any]:
    return crop_only()


def transform_car_crop() -> Callable[..., Any]:
    crop = crop_only()

    def best(image: Any, mask: Any) -> Any:
        crops = [crop(image, mask) for _ in range(5)]
        return max(crops, key=lambda pair: int((pair[1] == CAR).sum()))

    return best


def transform_not_one_class() -> Callable[..., Any]:
    crop = crop_only()

    def mixed(image: Any, mask: Any) -> Any:
        for _ in range(10):
            pixels, labels = crop(image, mask)
            counts = labels[labels != IGNORE].unique(return_counts=True)[1]
            if len(counts) > 1 and counts.max() < 0.75 * counts.sum():
                break
        return pixels, labels

    return mixed


def model_sound() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(1, 4), nn.Conv2d(4, 11, 1))


def model_batch_norm() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 11, 1))


def _step(model: nn.Module, **named: Any) -> Callable[[Tensor, Tensor], None]:
    data = [(torch.zeros(3, 8, 8), torch.zeros(8, 8))] * RECORDS
    model, optimizer, _ = private(model, data, **named)

    def step(images: Tensor, masks: Tensor) -> None:
        optimizer.zero_grad()
        loss_by_image(model(images), masks).backward()
        optimizer.step()

    return step


def trainer_sound(model: nn.Module) -> Callable[[Tensor, Tensor], None]:
    return _step(model)


def trainer_half_noise(model: nn.Module) -> Callable[[Tensor, Tensor], None]:
    return _step(model, noise_multiplier=NOISE / 2)


_ROUTES = ("transform", "loader", "model", "trainer", "pipeline")
_ALL = tuple(name for name in dict(globals()) if name.partition("_")[0] in _ROUTES)
SOUND = tuple(name for name in _ALL if name.endswith("_sound"))
MISTAKES = tuple(name for name in _ALL if name not in SOUND)
