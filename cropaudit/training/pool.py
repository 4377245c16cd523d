"""Images of one data set, cut by many windows at once.

Where all images have one size and a window needs neither padding nor a flip, the windows are picked
from one strided view; else they are cut one by one, with the same result.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropaudit.accounting.geometry import Crop
from cropaudit.training.crops import Window, cut
from cropaudit.training.data import SegmentationData

__all__ = ["ImagePool"]


class ImagePool:
    """Cuts windows from the images of a data set.

    Attributes:
        sizes: Of every image.

    Raises:
        InputError: If the crop does not fit an image.
    """

    def __init__(self, data: SegmentationData, crop: Crop) -> None:
        """Lays the images out for cutting."""
        self.data, self.crop = data, crop
        self.sizes = tuple(data.size(index) for index in range(len(data)))
        for size in data.sizes():
            crop.origins(size)
        self._views = _views(data, crop)

    def cut(self, images: NDArray[np.int64], windows: Sequence[Window]) -> tuple[Tensor, Tensor]:
        """Returns the pixels (R, 3, h, w) and the labels (R, h, w) of one window an image.

        Args:
            images: Indices into the data set, shape (R,).
            windows: R windows, as `JointRandomCrop.window` draws them.
        """
        if not windows:
            size = self.crop.size
            empty = torch.zeros(0, 3, size.height, size.width, dtype=torch.uint8)
            return empty, empty[:, 0]
        if self._views is not None:
            pixels, labels = self._views
            chosen = torch.from_numpy(np.asarray(images))
            at = torch.tensor([(one.top, one.left) for one in windows])
            return pixels[chosen, :, at[:, 0], at[:, 1]], labels[chosen, at[:, 0], at[:, 1]]
        cuts = [
            cut(self.data.images[image], self.data.masks[image], window, self.crop)
            for image, window in zip(images, windows, strict=True)
        ]
        shown, marked = zip(*cuts, strict=True)
        return torch.stack(shown), torch.stack(marked)


def _views(data: SegmentationData, crop: Crop) -> tuple[Tensor, Tensor] | None:
    """Returns all windows of all images as views, or none where a window may leave its image."""
    if len(data.sizes()) != 1 or crop.horizontal_flip or crop.vertical_flip:
        return None
    border = crop.borders(data.sizes()[0])
    if border.top or border.left or border.bottom or border.right:
        return None
    height, width = crop.size.height, crop.size.width
    images = torch.stack(data.images).unfold(2, height, 1).unfold(3, width, 1)
    masks = torch.stack(data.masks).unfold(1, height, 1).unfold(2, width, 1)
    return images, masks
