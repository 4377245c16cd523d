"""What replays show: images with masks that differ in one patch, and in nothing else.

Crops that are chosen by content are chosen by something: by void or blank windows that are drawn
again, by objects that are sought, by texture. So each state is shown contents that are laid around
its own window, the one that it cuts from images without content: one picture or label fills the
window and another one all around it, so that whoever shuns the first or seeks the second moves.
Labels go through every id from 0 to 255 that the transform takes, pictures through blank, black,
saturated, flat, noisy and striped ones. Between them stand masks of all ids at once, images in
which the patch is all there is, and photographs, with the ids that their files hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cropaudit.accounting.geometry import Size
from cropaudit.training.datasets.folder import FOLDER
from cropaudit.training.folder_pictures import read_image
from cropaudit.training.scenes import street_scenes

__all__ = ["ALL_IDS", "GROUNDS", "Contents", "Scene", "with_patch"]

Array = NDArray[Any]
Box = tuple[int, int, int, int]
ALL_IDS = tuple(range(256))
_IGNORED = 255
_USUAL = 64  # ids below this one are those of most data sets, and come first
_PICTURES = 16
_LEAST = 8  # pixels a side of a drawn scene
_CYCLE = 8  # scenes after which their kinds come again
GROUNDS = ("white", "black", "red", "grey", "noise", "stripes")
_FLAT = {"white": (255, 255, 255), "black": (0, 0, 0), "red": (255, 0, 0), "grey": (40, 40, 40)}


@dataclass(frozen=True, eq=False)
class Scene:
    """An image (H, W, 3) of bytes with its mask (H, W).

    Attributes:
        image: The image.
        mask: Its labels.
        filled: Id that fills the window, -1 if there are several.
    """

    image: Array
    mask: Array
    filled: int = -1


class Contents:
    """Scenes of one size, one after the other; `around` lays them around a window.

    Attributes:
        ids: Labels, in the order in which they fill windows.
        photographs: Whether pictures are photographs.
    """

    def __init__(
        self,
        size: Size,
        folder: Path | None,
        rng: np.random.Generator,
        *,
        ids: Sequence[int] = ALL_IDS,
        dtype: Any = np.int32,
    ) -> None:
        """Draws or reads the pictures.

        Args:
            size: Of every scene.
            folder: Of photographs with masks, besides what is drawn.
            rng: Of what is drawn.
            ids: Labels that the transform takes.
            dtype: Of masks.
        """
        self._size, self._dtype = size, dtype
        self.photographs = folder is not None
        self._seed = int(rng.integers(2**31))
        pictures = _pictures(size, folder, self._seed)
        found = {int(value) for _, mask in pictures for value in np.unique(mask)} if folder else ()
        self.ids = _ordered(ids, found)
        self._found = [value for value in self.ids if value in found]
        taken = set(self.ids)
        self._pictures = [Scene(image, self._labels(mask, taken)) for image, mask in pictures]

    @property
    def pictures(self) -> int:
        """How many photographs or drawn streets there are."""
        return len(self._pictures)

    def __getitem__(self, index: int) -> Scene:
        return self.around(index, None)

    def telling(self, index: int) -> bool:
        """Returns whether a scene is a picture: it says more to a reader than noise."""
        return index % _CYCLE in (3, 7) and bool(self._pictures)

    def around(self, index: int, window: Box | None) -> Scene:
        """Returns scene number ``index``, laid around a window (top, left, height, width).

        Args:
            index: Of the scene; kinds come again after `_CYCLE`, contents do not.
            window: None for one that is drawn.
        """
        rng = np.random.default_rng([self._seed, index])
        inside = self._inside(window, rng)
        kind, turn = index % _CYCLE, index // _CYCLE
        if self.telling(index):
            return self._pictures[(2 * turn + kind // 4) % len(self._pictures)]
        if kind == 1:  # all ids at once, in single pixels
            mask = rng.choice(np.array(self.ids), inside.shape)
            return Scene(_ground("noise", inside.shape, rng), mask.astype(self._dtype))
        if kind == 5:  # the patch is all there is
            only = (0, _IGNORED)[turn % 2]
            only = only if only in self.ids else self.ids[0]
            flat = _ground(("grey", "white", "black")[turn % 3], inside.shape, rng)
            return Scene(flat, np.full(inside.shape, only, dtype=self._dtype), only)
        # Even kinds, and those of pictures where there are none.
        step = (_CYCLE // 2) * turn + kind // 2
        one, other = self._two_labels(step)
        first = step % len(GROUNDS)
        second = (first + 1 + step // len(GROUNDS) % (len(GROUNDS) - 1)) % len(GROUNDS)
        pictures = [_ground(GROUNDS[i], inside.shape, rng) for i in (first, second)]
        return Scene(
            np.where(inside[..., None], *pictures),
            np.where(inside, one, other).astype(self._dtype),
            one,
        )

    def _two_labels(self, step: int) -> tuple[int, int]:
        """Returns two labels: all come in turn, those of photographs every other time."""
        pool: Sequence[int] = self.ids
        if len(self._found) > 1:
            step, pool = step // 2, (self.ids, self._found)[step % 2]
        one, other = pool[step % len(pool)], pool[(5 * step + 2) % len(pool)]
        return one, other if other != one else pool[(step + 1) % len(pool)]

    def _inside(self, window: Box | None, rng: np.random.Generator) -> NDArray[np.bool_]:
        height, width = self._size.height, self._size.width
        if window is None:
            top, left = int(rng.integers(height)), int(rng.integers(width))
            window = (top - height // 4, left - width // 4, height // 2 + 1, width // 2 + 1)
        top, left, tall, wide = window
        inside = np.zeros((height, width), dtype=np.bool_)
        inside[max(top, 0) : max(top + tall, 0), max(left, 0) : max(left + wide, 0)] = True
        return inside

    def _labels(self, mask: Array, taken: set[int]) -> Array:
        """Returns labels of a picture; ids that are not taken become others that are."""
        wide = mask.astype(np.int64)
        known = np.isin(wide, list(taken))
        return np.where(known, wide, np.array(self.ids)[wide % len(self.ids)]).astype(self._dtype)


def with_patch(
    scene: Scene,
    place: tuple[int, int],
    patch: Size,
    turn: int,
    ids: Sequence[int] = ALL_IDS,
) -> Scene:
    """Returns the scene with another content in the patch at ``place`` (top, left).

    ``turn`` picks it: white, the negative, noise or black; ignored, empty, what fills the window,
    or any other label.
    """
    rng = np.random.default_rng(turn)
    rows = slice(place[0], place[0] + patch.height)
    columns = slice(place[1], place[1] + patch.width)
    image, mask = scene.image.copy(), scene.mask.copy()
    old = image[rows, columns]
    noise = rng.integers(0, 256, old.shape, dtype=np.uint8)
    new = (np.full_like(old, 255), 255 - old, noise, np.zeros_like(old))[turn % 4]
    # Every pixel of the patch changes, so that a crop that shows one of them must differ.
    image[rows, columns] = np.where(new == old, old ^ 128, new)
    label = (_IGNORED, 0, scene.filled, int(rng.choice(ids)))[turn // 4 % 4]
    label = label if label in ids else ids[turn % len(ids)]
    spare = ids[(list(ids).index(label) + 1) % len(ids)]
    labels = mask[rows, columns]
    mask[rows, columns] = np.where(labels == label, spare, label)
    return Scene(image, mask, scene.filled)


def _ordered(ids: Sequence[int], found: Sequence[int] | set[int]) -> tuple[int, ...]:
    """Returns the ids, those of photographs first, then the usual ones."""
    usual = [*sorted(found), _IGNORED, *range(_USUAL), *ids]
    return tuple(value for value in dict.fromkeys(usual) if value in set(ids))


def _ground(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    height, width = shape
    if name == "noise":
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if name == "stripes":
        rows = np.arange(height)[:, None, None] % 4 // 2 * np.full((1, width, 3), 255)
        return np.asarray(rows, dtype=np.uint8)
    return np.full((height, width, 3), _FLAT[name], dtype=np.uint8)


def _pictures(size: Size, folder: Path | None, seed: int) -> list[tuple[Array, Array]]:
    if folder is None:
        if min(size.height, size.width) < _LEAST:
            return []
        drawn = street_scenes(1, size, seed)
        return [(drawn.images[0].permute(1, 2, 0).numpy(), drawn.masks[0].numpy())]
    listing = FOLDER.open(folder)
    pairs = [*listing.train, *listing.validation]
    spaced = pairs[:: -(-len(pairs) // _PICTURES)]
    # Ids as the files hold them: what is read as ignored may be what a transform looks for.
    read = [(read_image(pair.image, None)[0], listing.read_ids(pair.mask)) for pair in spaced]
    return [(_fitted(image.transpose(1, 2, 0), size), _fitted(ids, size)) for image, ids in read]


def _fitted(picture: Array, size: Size) -> Array:
    """Scales a photograph or its mask to the size, by nearest neighbours: labels stay labels."""
    rows = np.arange(size.height) * picture.shape[0] // size.height
    columns = np.arange(size.width) * picture.shape[1] // size.width
    fitted: Array = np.ascontiguousarray(picture[rows[:, None], columns[None, :]])
    return fitted
