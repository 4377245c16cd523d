"""Transforms of torchvision and timm as users write them: what the guide of conformance shows."""

from typing import Any

import timm.data
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

SIDE = 100
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def standardise(image: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Gives each image mean 0 and deviation 1."""
    values = image.float()
    return (values - values.mean()) / values.std(), mask


def blend(image: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pastes a second window of the image into the first, as CutMix does between images."""
    one, labels = v2.RandomCrop(SIDE)(image, mask)
    other, more = v2.RandomCrop(SIDE)(image, mask)
    one, labels = one.clone(), labels.clone()
    one[..., :50, :50], labels[..., :50, :50] = other[..., :50, :50], more[..., :50, :50]
    return one, labels


def pillow_box(image: Image.Image, mask: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Resizes a random box by Pillow's own resize(box=...)."""
    top, left, height, width = v1.RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3))
    box, size = (left, top, left + width, top + height), (SIDE, SIDE)
    bilinear, nearest = Image.Resampling.BILINEAR, Image.Resampling.NEAREST
    return image.resize(size, bilinear, box=box), mask.resize(size, nearest, box=box)


def crop_then_standardise(image: Any, mask: Any) -> tuple[Any, Any]:
    """Crops, and then gives each crop mean 0 and deviation 1."""
    return standardise(*v2.RandomCrop(SIDE)(image, mask))


class OnImage:
    """Changes the image, and hands the mask on as it is."""

    def __init__(self, change: Any) -> None:
        self.change = change

    def __call__(self, image: torch.Tensor, mask: torch.Tensor) -> tuple[Any, torch.Tensor]:
        return self.change(image), mask


crop = v2.RandomCrop(100)
crop_flip = v2.Compose([v2.RandomCrop(100), v2.RandomHorizontalFlip()])
pad_constant = v2.RandomCrop(100, padding=40)
pad_edge = v2.RandomCrop(100, padding=40, padding_mode="edge")
pad_reflect = v2.RandomCrop(100, padding=40, padding_mode="reflect")
pad_symmetric = v2.RandomCrop(100, padding=40, padding_mode="symmetric")
pad_needed = v2.RandomCrop(100, pad_if_needed=True)
resized = v2.RandomResizedCrop(100)
resized_raw = v2.RandomResizedCrop(100, antialias=False)
iou_crop = v2.RandomIoUCrop()
scale_jitter = v2.Compose([v2.ScaleJitter((360, 480)), v2.RandomCrop(100, pad_if_needed=True)])
rotation_before = v2.Compose([v2.RandomRotation(10), v2.RandomCrop(100)])
rotation_after = v2.Compose([v2.RandomCrop(100), v2.RandomRotation(10)])
blur_before = v2.Compose([v2.GaussianBlur(5), v2.RandomCrop(100)])
blur_after = v2.Compose([v2.RandomCrop(100), v2.GaussianBlur(5)])
constant_before = v2.Compose(
    [v2.ToDtype(torch.float32, scale=True), v2.Normalize(**IMAGENET), v2.RandomCrop(100)]
)
standard_before = v2.Compose([standardise, v2.RandomCrop(100)])
standard_after = crop_then_standardise
jpeg_before = v2.Compose([v2.JPEG((50, 90)), v2.RandomCrop(100)])
jpeg_after = v2.Compose([v2.RandomCrop(100), v2.JPEG((50, 90))])
equalize_before = v2.Compose([v2.RandomEqualize(), v2.RandomCrop(100)])
equalize_after = v2.Compose([v2.RandomCrop(100), v2.RandomEqualize()])
jitter_before = v2.Compose([v2.ColorJitter(0.4, 0.4, 0.4), v2.RandomCrop(100)])
brightness_before = v2.Compose([v2.ColorJitter(brightness=0.4), v2.RandomCrop(100)])
auto_before = v2.Compose([OnImage(v2.AutoAugment()), v2.RandomCrop(100)])
auto_after = v2.Compose([v2.RandomCrop(100), OnImage(v2.AutoAugment())])
solarize_after = v2.Compose([v2.RandomCrop(100), OnImage(v2.RandomSolarize(128))])
auto_alone = v2.Compose([v2.RandomCrop(100), v2.AutoAugment()])
erasing_after = v2.Compose([v2.RandomCrop(100), v2.RandomErasing(p=1.0)])
erasing_before = v2.Compose([v2.RandomErasing(p=1.0), v2.RandomCrop(100)])
five = v2.FiveCrop(100)
ten = v2.TenCrop(100)
cutmix = v2.CutMix(num_classes=19)
own_blend = blend
resized_by_pillow = pillow_box
halved_before = v2.Compose([v2.Resize((180, 240)), v2.RandomCrop(100)])

v1_crop = v1.RandomCrop(100)
v1_constant = v1.RandomCrop(100, padding=40)
v1_edge = v1.RandomCrop(100, padding=40, padding_mode="edge")
v1_reflect = v1.RandomCrop(100, padding=40, padding_mode="reflect")
v1_symmetric = v1.RandomCrop(100, padding=40, padding_mode="symmetric")
v1_needed = v1.RandomCrop(100, pad_if_needed=True)
v1_resized = v1.RandomResizedCrop(100)

timm_train = timm.data.create_transform(100, is_training=True)
timm_resized = timm.data.RandomResizedCropAndInterpolation(100)
timm_random = timm.data.RandomResizedCropAndInterpolation(100, interpolation="random")
timm_rand_before = v1.Compose(
    [timm.data.rand_augment_transform("rand-m9-mstd0.5", {}), v1.RandomCrop(100)]
)
timm_rand_after = v1.Compose(
    [v1.RandomCrop(100), timm.data.rand_augment_transform("rand-m9-mstd0.5", {})]
)
