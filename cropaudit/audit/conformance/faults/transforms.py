"""Transforms with one fault each, and sound ones; all are called on (image, mask) as tv_tensors.

The claim is always the same: a uniform window of 100x100, cut from an image of 360x480 and from its
mask alike, with no padding unless a claim says so.
"""

import torch
from torch.nn import functional
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as f

from cropaudit.accounting.crop_laws import ResizedCrop
from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.accounting.inclusion import inclusion
from cropaudit.accounting.window_sizes import size_law
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.faults.fault import Fault
from cropaudit.audit.conformance.subjects import Subjects

__all__ = ["CLEAN", "FAULTS"]

Tensor = torch.Tensor
Pair = tuple[Tensor, Tensor]

SIDE = 100
IMAGE, PATCH = Size(360, 480), Rectangle(Size(20, 20))
WINDOW = Crop(Size(SIDE, SIDE))
LONG, SMALL = Size(150, 900), Size(80, 300)


def _sides(image: Tensor) -> tuple[int, int]:
    height, width = image.shape[-2:]
    return int(height), int(width)


def _cut(image: Tensor, mask: Tensor, top: int, left: int) -> Pair:
    return f.crop(image, top, left, SIDE, SIDE), f.crop(mask, top, left, SIDE, SIDE)


def _below(count: int) -> int:
    return int(torch.randint(count, ()))


class CentreBiasedCrop:
    """Draws origins as the mean of two uniform ones: the centre of the image is preferred."""

    def __call__(self, image: Tensor, mask: Tensor) -> Pair:
        """Crops both."""
        height, width = _sides(image)
        rows, columns = height - SIDE + 1, width - SIDE + 1
        top = (_below(rows) + _below(rows)) // 2
        return _cut(image, mask, top, (_below(columns) + _below(columns)) // 2)


class OffByOneCrop:
    """Never starts at the last row or column, as ``randint(height - size)`` does."""

    def __call__(self, image: Tensor, mask: Tensor) -> Pair:
        """Crops both."""
        height, width = _sides(image)
        return _cut(image, mask, _below(max(height - SIDE, 1)), _below(max(width - SIDE, 1)))


class CentreCrop:
    """Cuts the same window each time: there is nothing random that could amplify."""

    def __call__(self, image: Tensor, mask: Tensor) -> Pair:
        """Crops both."""
        height, width = _sides(image)
        return _cut(image, mask, (height - SIDE) // 2, (width - SIDE) // 2)


class NormaliseBeforeCrop:
    """Divides by the mean and deviation of the whole image, and then crops."""

    def __init__(self) -> None:
        """Takes the crop from torchvision."""
        self._crop = v2.RandomCrop(SIDE)

    def __call__(self, image: Tensor, mask: Tensor) -> Pair:
        """Normalises and crops both."""
        values = image.to(torch.float32)
        cut: Pair = self._crop((values - values.mean()) / values.std(), mask)
        return cut


class ResizeBeforeCrop(v2.Compose):  # type: ignore[misc]
    """Halves the image and then crops: a window of 100x100 reads 200x200 of the source."""

    def __init__(self) -> None:
        """Chains torchvision's own."""
        super().__init__([v2.Resize((IMAGE.height // 2, IMAGE.width // 2)), v2.RandomCrop(SIDE)])


class BlurBeforeCrop(v2.Compose):  # type: ignore[misc]
    """Blurs the image and then crops: pixels beside the window bleed into it."""

    def __init__(self) -> None:
        """Chains torchvision's own."""
        super().__init__([v2.GaussianBlur(5, sigma=2.0), v2.RandomCrop(SIDE)])


class RotateBeforeCrop(v2.Compose):  # type: ignore[misc]
    """Turns the image and then crops: the window reads a turned square of the source."""

    def __init__(self) -> None:
        """Chains torchvision's own."""
        super().__init__([v2.RandomRotation(20), v2.RandomCrop(SIDE)])


class CompressBeforeCrop(v2.Compose):  # type: ignore[misc]
    """Passes the image through JPEG and then crops: blocks of 16 pixels mix."""

    def __init__(self) -> None:
        """Chains torchvision's own."""
        super().__init__([v2.JPEG(30), v2.RandomCrop(SIDE)])


class ReflectPadding(v2.RandomCrop):  # type: ignore[misc]
    """Pads by 90 pixels that mirror the image, which the claim does not say."""

    def __init__(self) -> None:
        """Sets torchvision's own up."""
        super().__init__(SIDE, padding=90, padding_mode="reflect")


class ApartCrop:
    """Draws one window for the image and another for its mask."""

    def __init__(self) -> None:
        """Takes the crop from torchvision."""
        self._crop = v2.RandomCrop(SIDE)

    def __call__(self, image: Tensor, mask: Tensor) -> Pair:
        """Crops one after the other."""
        return self._crop(image), self._crop(mask)


class ObjectCrop:
    """Centres the window on a labelled pixel if there is one, as crops of non-empty masks do."""

    def __call__(self, image: Tensor, mask: Tensor) -> Pair:
        """Crops both."""
        height, width = _sides(image)
        labelled = torch.nonzero(mask == mask.amax())
        row, column = labelled[_below(len(labelled))].tolist()
        top = min(max(row - SIDE // 2, 0), height - SIDE)
        return _cut(image, mask, top, min(max(column - SIDE // 2, 0), width - SIDE))


class _Redrawn:
    """Draws windows again, up to ten times, until one pleases."""

    def __init__(self) -> None:
        """Takes the crop from torchvision."""
        self._crop = v2.RandomCrop(SIDE)

    def __call__(self, image: Tensor, mask: Tensor) -> Pair:
        """Crops both."""
        for _ in range(10):
            cut, labels = self._crop(image, mask)
            if self.pleases(cut, labels):
                break
        return cut, labels

    def pleases(self, image: Tensor, mask: Tensor) -> bool:
        """Returns whether the window is kept."""
        raise NotImplementedError


class VoidCrop(_Redrawn):
    """Draws again where a window is mostly ignored in training."""

    def pleases(self, image: Tensor, mask: Tensor) -> bool:
        """Returns whether fewer than half of the labels are 255."""
        return float((mask == 255).float().mean()) < 0.5


class BlankCrop(_Redrawn):
    """Draws again where a window is nearly white, as for slides and scans."""

    def pleases(self, image: Tensor, mask: Tensor) -> bool:
        """Returns whether something is to be seen."""
        return float(image.float().mean()) < 240


class ClassCrop:
    """Centres the window on a pixel of class 8 or above, if there is one."""

    def __call__(self, image: Tensor, mask: Tensor) -> Pair:
        """Crops both."""
        height, width = _sides(image)
        labelled = torch.nonzero((mask >= 8) & (mask < 255))
        if not len(labelled):
            return _cut(image, mask, _below(height - SIDE + 1), _below(width - SIDE + 1))
        row, column = labelled[_below(len(labelled))].tolist()
        top = min(max(row - SIDE // 2, 0), height - SIDE)
        return _cut(image, mask, top, min(max(column - SIDE // 2, 0), width - SIDE))


class LastWindowAnywhere:
    """A crop of random size whose window, where none fits, lies anywhere: kornia's habit."""

    def __call__(self, image: Tensor, mask: Tensor) -> Pair:
        """Crops and resizes both."""
        box = v1.RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3])
        top, left, height, width = box
        last = size_law(Size(*_sides(image)), ResizedCrop(Size(SIDE, SIDE))).fallback
        if (height, width) == (last.height, last.width):
            top, left = (
                _below(side - w + 1) for side, w in zip(_sides(image), box[2:], strict=True)
            )
        return tuple(
            f.resized_crop(item, top, left, height, width, [SIDE, SIDE]) for item in (image, mask)
        )


class PaddedOnce:
    """Pads small images once, in the middle, before the crop: albumentations' habit."""

    def __init__(self) -> None:
        """Takes the crop from torchvision."""
        self._crop = v2.RandomCrop(SIDE)

    def __call__(self, image: Tensor, mask: Tensor) -> Pair:
        """Pads and crops both."""
        lack = [max(SIDE - side, 0) for side in _sides(image)]
        padding = [lack[1] // 2, lack[0] // 2, lack[1] - lack[1] // 2, lack[0] - lack[0] // 2]
        cut: Pair = self._crop(f.pad(image, padding), f.pad(mask, padding))
        return cut


class FourCrops:
    """Returns four crops of each image."""

    def __init__(self) -> None:
        """Takes the crop from torchvision."""
        self._crop = v2.RandomCrop(SIDE)

    def __call__(self, image: Tensor, mask: Tensor) -> list[Pair]:
        """Crops both, four times."""
        return [self._crop(image, mask) for _ in range(4)]


class BytesCrop(FourCrops):
    """Crops once, and keeps labels in bytes."""

    def __call__(self, image: Tensor, mask: Tensor) -> Pair:  # type: ignore[override]
        """Crops both."""
        cut, labels = self._crop(image, mask)
        return cut, labels.to(torch.uint8)


class MixedCrop:
    """Pastes a thumbnail of the whole image into the corner of the crop, as a mosaic does."""

    def __init__(self) -> None:
        """Takes the crop from torchvision."""
        self._crop = v2.RandomCrop(SIDE)

    def __call__(self, image: Tensor, mask: Tensor) -> Pair:
        """Crops both and mixes."""
        cut, labels = self._crop(image, mask)
        small = functional.interpolate(image[None].float(), size=(20, 20), mode="area")[0]
        cut = cut.clone()
        cut[..., :20, :20] = small.to(cut.dtype)
        return cut, labels


def cropped_and_flipped() -> v2.Transform:
    """Returns torchvision's crop and flip."""
    return v2.Compose([v2.RandomCrop(SIDE), v2.RandomHorizontalFlip()])


def cropped_and_jittered() -> v2.Transform:
    """Returns a crop whose colours are changed afterwards."""
    return v2.Compose([v2.RandomCrop(SIDE), v2.ColorJitter(0.4, 0.4, 0.4)])


def cropped_and_blurred() -> v2.Transform:
    """Returns a crop that is blurred afterwards."""
    return v2.Compose([v2.RandomCrop(SIDE), v2.GaussianBlur(5)])


def cropped_and_turned() -> v2.Transform:
    """Returns a crop that is turned afterwards."""
    return v2.Compose([v2.RandomCrop(SIDE), v2.RandomRotation(15)])


def cropped_and_equalised() -> v2.Transform:
    """Returns a crop whose own histogram is equalised afterwards."""
    return v2.Compose([v2.RandomCrop(SIDE), v2.RandomEqualize(p=1.0)])


def padded() -> v2.Transform:
    """Returns a crop of an image padded with a constant."""
    return v2.RandomCrop(SIDE, padding=40)


def mirrored() -> v2.Transform:
    """Returns a crop of an image padded with its mirror image, as claimed."""
    return v2.RandomCrop(SIDE, padding=90, padding_mode="reflect")


def resized() -> v2.Transform:
    """Returns torchvision's crop of random size."""
    return v2.RandomResizedCrop(SIDE)


def older() -> v1.RandomCrop:
    """Returns the crop of torchvision's older transforms, which takes images alone."""
    return v1.RandomCrop(SIDE)


_HERE = __name__


def _claim(**changes: object) -> Claimed:
    values = {"image": IMAGE, "patch": PATCH, "crop": WINDOW}
    return Claimed(**{**values, **changes})  # type: ignore[arg-type]


def _fault(name: str, summary: str, check: str, made: str, **changes: object) -> Fault:
    return Fault(name, summary, check, Subjects(transform=f"{_HERE}:{made}"), _claim(**changes))


FAULTS: tuple[Fault, ...] = (
    _fault("centre-bias", "windows prefer the centre", "window law", "CentreBiasedCrop"),
    _fault("off-by-one", "the last origin never occurs", "window law", "OffByOneCrop"),
    _fault("fixed-crop", "the window is always the same", "window law", "CentreCrop"),
    _fault(
        "normalise-before-crop",
        "statistics of the whole image enter each crop",
        "non-interference",
        "NormaliseBeforeCrop",
    ),
    _fault(
        "resize-before-crop",
        "the image is halved before the crop",
        "window law",
        "ResizeBeforeCrop",
    ),
    _fault(
        "blur-before-crop", "a filter reads beyond the window", "non-interference", "BlurBeforeCrop"
    ),
    _fault("rotate-before-crop", "the image is turned first", "window law", "RotateBeforeCrop"),
    _fault(
        "jpeg-before-crop", "blocks of JPEG mix pixels", "non-interference", "CompressBeforeCrop"
    ),
    _fault(
        "reflect-padding",
        "the padding mirrors the image, which the claim leaves out",
        "window law",
        "ReflectPadding",
    ),
    _fault(
        "copied-border",
        "the padding is claimed to be constant, and mirrors the image",
        "non-interference",
        "ReflectPadding",
        crop=Crop(Size(SIDE, SIDE), padding=90),
    ),
    _fault("crops-apart", "image and mask are cut apart", "label alignment", "ApartCrop"),
    _fault(
        "object-crop", "the window is drawn to labelled pixels", "non-interference", "ObjectCrop"
    ),
    _fault(
        "void-crop", "windows of ignored labels are drawn again", "non-interference", "VoidCrop"
    ),
    _fault("blank-crop", "windows that are white are drawn again", "non-interference", "BlankCrop"),
    _fault("class-crop", "the window is drawn to some classes", "non-interference", "ClassCrop"),
    _fault(
        "last-window-anywhere",
        "where no window fits, the one that is taken lies anywhere",
        "window law",
        "LastWindowAnywhere",
        image=LONG,
        crop=ResizedCrop(Size(SIDE, SIDE)),
    ),
    _fault(
        "padded-once",
        "small images are padded in the middle, and said to be padded on both sides",
        "window law",
        "PaddedOnce",
        image=SMALL,
        crop=Crop(Size(SIDE, SIDE), pad_if_needed=True),
    ),
    _fault(
        "four-crops-as-one",
        "four crops of an image are claimed to be one",
        "window law",
        "FourCrops",
    ),
    _fault("mosaic", "a thumbnail of the image is mixed in", "non-interference", "MixedCrop"),
    _fault(
        "padding-counted-twice",
        "rho was computed with twice the padding, and so is too small",
        "inclusion rate",
        "padded",
        crop=Crop(Size(SIDE, SIDE), padding=40),
        inclusion=inclusion(IMAGE, Crop(Size(SIDE, SIDE), 80), PATCH).probability,
    ),
)

CLEAN: tuple[Fault, ...] = (
    _fault("clean-crop", "a crop and a flip", "", "cropped_and_flipped"),
    _fault("clean-jitter", "colours change after the crop", "", "cropped_and_jittered"),
    _fault("clean-blur", "a filter after the crop", "", "cropped_and_blurred"),
    _fault("clean-turn", "turned after the crop", "", "cropped_and_turned"),
    _fault("clean-equalise", "equalised after the crop", "", "cropped_and_equalised"),
    _fault(
        "clean-padding", "constant padding, claimed", "", "padded", crop=Crop(Size(SIDE, SIDE), 40)
    ),
    _fault(
        "clean-mirror",
        "mirrored padding, claimed",
        "",
        "mirrored",
        crop=Crop(Size(SIDE, SIDE), 90, "reflect"),
    ),
    _fault(
        "clean-resized",
        "a crop of random size, claimed",
        "",
        "resized",
        crop=ResizedCrop(Size(SIDE, SIDE)),
    ),
    _fault(
        "clean-long",
        "a crop of random size of long images, where often none fits",
        "",
        "resized",
        image=LONG,
        crop=ResizedCrop(Size(SIDE, SIDE)),
    ),
    _fault("clean-bytes", "a crop whose labels are bytes", "", "BytesCrop"),
    _fault("clean-four", "four crops of an image, as claimed", "", "FourCrops", crops=4),
    _fault("clean-older", "torchvision's older crop, of images alone", "", "older"),
)
