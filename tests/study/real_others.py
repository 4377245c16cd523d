"""Transforms of albumentations and kornia as users write them, for the guide of conformance."""

from typing import Any

import albumentations as A
import cv2
import kornia.augmentation as K

SIDE = 100


def both(*augmentations: Any) -> K.AugmentationSequential:
    """Applies kornia's augmentations to images and masks alike."""
    return K.AugmentationSequential(*augmentations, data_keys=["input", "mask"])


a_crop = A.RandomCrop(100, 100)
a_crop_flip = A.Compose([A.RandomCrop(100, 100), A.HorizontalFlip()])
a_non_empty = A.CropNonEmptyMaskIfExists(100, 100)
a_sized = A.RandomSizedCrop((50, 100), (100, 100))
a_resized = A.RandomResizedCrop((100, 100))
a_boxes = A.RandomSizedBBoxSafeCrop(100, 100)
a_clahe_before = A.Compose([A.CLAHE(p=1), A.RandomCrop(100, 100)])
a_clahe_after = A.Compose([A.RandomCrop(100, 100), A.CLAHE(p=1)])
a_normal = A.Compose([A.Normalize(), A.RandomCrop(100, 100)])
a_image_before = A.Compose([A.Normalize(normalization="image"), A.RandomCrop(100, 100)])
a_image_after = A.Compose([A.RandomCrop(100, 100), A.Normalize(normalization="image")])
a_pad = A.Compose([A.PadIfNeeded(440, 560), A.RandomCrop(100, 100)])
a_reflect = A.Compose(
    [A.PadIfNeeded(440, 560, border_mode=cv2.BORDER_REFLECT_101), A.RandomCrop(100, 100)]
)
a_distort = A.Compose([A.GridDistortion(p=1), A.RandomCrop(100, 100)])
a_affine = A.Compose([A.Affine(rotate=(-10, 10), p=1), A.RandomCrop(100, 100)])
a_noise = A.Compose([A.GaussNoise(p=1), A.RandomCrop(100, 100)])
a_drop = A.Compose([A.CoarseDropout(p=1), A.RandomCrop(100, 100)])

k_crop = both(K.RandomCrop((100, 100)))
k_images = K.RandomCrop((100, 100))
k_resample = both(K.RandomCrop((100, 100), cropping_mode="resample"))
k_padded = both(K.RandomCrop((100, 100), padding=40))
k_resized = both(K.RandomResizedCrop((100, 100)))
k_resized_resample = both(K.RandomResizedCrop((100, 100), cropping_mode="resample"))
k_flip = both(K.RandomCrop((100, 100)), K.RandomHorizontalFlip())
k_affine = both(K.RandomAffine(10.0), K.RandomCrop((100, 100)))
k_equalize = both(K.RandomEqualize(p=1.0), K.RandomCrop((100, 100)))
k_mosaic = K.RandomMosaic((100, 100), p=1.0)
k_mixup = K.ImageSequential(K.RandomCrop((100, 100)), K.RandomMixUpV2(p=1.0))
