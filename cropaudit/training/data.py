"""The one description of images and dense masks that training, attacks and reports share.

Images stay as uint8 tensors in memory; each may have its own size. Pixels labelled `IGNORE` bear
no loss and count in no metric.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from cropaudit.accounting.geometry import Size

__all__ = ["IGNORE", "Origin", "SegmentationData"]

IGNORE = 255


@dataclass(frozen=True)
class Origin:
    """The file that an image was read from.

    Attributes:
        path: Below the parent of its data folder, with slashes: tells no one whose disk it is on.
        size: As stored, before any resizing.
    """

    path: str
    size: Size


@dataclass(frozen=True, eq=False)
class SegmentationData:
    """Images with dense masks.

    Attributes:
        images: uint8 tensors of shape (3, H, W), RGB.
        masks: uint8 tensors of shape (H, W): an index into ``classes``, or `IGNORE`.
        classes: Class names in the order of their indices.
        names: One name per image, for reports.
        source: Where the images come from, in words.
        origins: The files of the first so many images; `origin` answers for any of them.
        files: What was found where they come from, used and left out, in one line; of scenes "".
    """

    images: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    source: str
    origins: tuple[Origin | None, ...] = ()
    files: str = ""

    def __len__(self) -> int:
        return len(self.images)

    def size(self, index: int) -> Size:
        """Returns the size of one image."""
        _, height, width = self.images[index].shape
        return Size(height, width)

    def sizes(self) -> tuple[Size, ...]:
        """Returns the distinct image sizes, sorted."""
        return tuple(sorted({self.size(index) for index in range(len(self))}))

    def origin(self, index: int) -> Origin | None:
        """Returns the file of one image, if it came from one."""
        return self.origins[index] if index < len(self.origins) else None

    def take(self, indices: Sequence[int]) -> "SegmentationData":
        """Returns the chosen images, in the order of ``indices``."""
        return replace(
            self,
            images=tuple(self.images[i] for i in indices),
            masks=tuple(self.masks[i] for i in indices),
            names=tuple(self.names[i] for i in indices),
            origins=tuple(self.origin(i) for i in indices),
        )
