"""Finds the images and masks in whatever a loader returns for a batch.

Batches are tuples, lists or mappings of tensors or arrays, or lists of samples. Images are those of
three channels, first or last; masks have the same shape without channels, or one channel.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["describe", "items_of"]

Array = NDArray[np.generic]

_COLOURS = 3
_PLANE = 2  # dimensions of one mask


def items_of(batch: Any) -> list[tuple[Array, Array | None]] | None:
    """Returns the images (h, w, 3) and masks (h, w) of a batch; none if there are no images.

    An empty batch has no items. More than one crop of an image, in a dimension of their own, are
    as many items.
    """
    leaves = list(_leaves(batch))
    # Three masks look like an image of three channels, but not beside a stack of images.
    deepest = max((leaf.ndim for leaf in leaves if _shows(leaf)), default=0)
    of_images = [leaf for leaf in leaves if _shows(leaf) and leaf.ndim == deepest]
    images = [image for leaf in of_images for image in _images(leaf)]
    if not images:
        return [] if _hollow(batch) else None
    plane = images[0].shape[:_PLANE]
    others = [leaf for leaf in leaves if not (_shows(leaf) and leaf.ndim == deepest)]
    masks = [mask for leaf in others for mask in _masks(leaf, plane)]
    if len(masks) != len(images):
        return [(image, None) for image in images]
    return list(zip(images, masks, strict=True))


def describe(batch: Any) -> str:
    """Returns the type of a batch and the shapes in it, in a few words."""
    shapes = ", ".join(f"{leaf.dtype} {tuple(leaf.shape)}" for leaf in _leaves(batch))
    return f"{type(batch).__name__} with {shapes or 'no tensors'}"[:200]


def _leaves(batch: Any) -> Iterator[Array]:
    if isinstance(batch, torch.Tensor):
        plain = batch.detach().cpu().as_subclass(torch.Tensor)
        plain = plain.float() if plain.dtype in (torch.bfloat16, torch.float16) else plain
        yield plain.numpy()
    elif isinstance(batch, np.ndarray):
        yield batch
    elif isinstance(batch, Mapping):
        for item in batch.values():
            yield from _leaves(item)
    elif isinstance(batch, (tuple, list)):
        for item in batch:
            yield from _leaves(item)


def _hollow(batch: Any) -> bool:
    """Returns whether a batch holds nothing: no items, or tensors of none."""
    if isinstance(batch, (torch.Tensor, np.ndarray)):
        return 0 in batch.shape[:1]
    if isinstance(batch, Mapping):
        return all(_hollow(item) for item in batch.values())
    return isinstance(batch, (tuple, list)) and all(_hollow(item) for item in batch)


def _shows(leaf: Array) -> bool:
    """Returns whether a tensor may be an image, or a stack of them."""
    return (
        leaf.ndim > _PLANE and 0 not in leaf.shape and _COLOURS in (leaf.shape[-3], leaf.shape[-1])
    )


def _images(leaf: Array) -> list[Array]:
    """Returns the images in one tensor, of 3 dimensions or more."""
    last = leaf if leaf.shape[-3] != _COLOURS else np.moveaxis(leaf, -3, -1)
    return list(last.reshape(-1, *last.shape[-3:]))


def _masks(leaf: Array, plane: tuple[int, ...]) -> list[Array]:
    """Returns the masks of one size in one tensor."""
    if leaf.ndim > _PLANE and leaf.shape[-1] == 1:
        leaf = leaf[..., 0]
    if leaf.ndim < _PLANE or 0 in leaf.shape or leaf.shape[-_PLANE:] != plane:
        return []
    return list(leaf.reshape(-1, *plane))
