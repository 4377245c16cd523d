"""Asks every model for its signals: the same crops of every slot, for one model or an ensemble."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from cropaudit.accounting.geometry import Crop
from cropaudit.attacks.black_box.answers import Predict, answers
from cropaudit.attacks.black_box.queries import slot_queries
from cropaudit.attacks.black_box.signals import Decoys, Signals
from cropaudit.errors import require
from cropaudit.training.canaries import CanarySlot
from cropaudit.training.data import IGNORE, SegmentationData
from cropaudit.training.losses import prepare
from cropaudit.training.stacked import StackedModels

__all__ = ["collect", "collect_one"]

Array = NDArray[np.float64]


def collect(
    models: StackedModels,
    parameters: Tensor,
    empty: SegmentationData,
    slots: Sequence[CanarySlot],
    crop: Crop,
    *,
    windows: int,
    seed: int,
    maps: int = 0,
    covering: bool = True,
    decoys: Decoys | None = None,
) -> Signals:
    """Queries every model of an ensemble.

    Args:
        models: The architecture.
        parameters: Of every model, shape (M, P).
        empty: The records, slots empty.
        slots: The canaries.
        crop: The crop of training.
        windows: W, drawn by the crop's law for each slot, the same for all models.
        seed: Of the windows.
        maps: Cells along each side of the loss maps; 0 for none.
        covering: Whether windows show all of the patch, as far as any does, or only meet it.
        decoys: Known nonmembers to be shown as well.

    Raises:
        InputError: If no window or no slot is asked for, or no window meets a patch.
    """
    pieces = models.pieces(parameters.detach())
    frozen = {k: p for k, p in models.skeleton.named_parameters() if not p.requires_grad}
    predicts: list[Predict] = [
        _Stacked(models.skeleton, {**frozen, **{k: p[number] for k, p in pieces.items()}})
        for number in range(len(parameters))
    ]
    asked = _Asked(crop, windows, seed, maps, covering, parameters.device)
    return asked.signals(predicts, empty, slots, decoys)


def collect_one(
    model: nn.Module,
    empty: SegmentationData,
    slots: Sequence[CanarySlot],
    crop: Crop,
    *,
    windows: int,
    seed: int,
    maps: int = 0,
    covering: bool = True,
    decoys: Decoys | None = None,
) -> Signals:
    """Queries one model of any size, where it lies, in evaluation mode; else as `collect`."""
    device = next(model.parameters()).device
    asked = _Asked(crop, windows, seed, maps, covering, device)
    return asked.signals([model.eval()], empty, slots, decoys)


@dataclass(frozen=True, eq=False)
class _Stacked:
    """One model of an ensemble."""

    skeleton: nn.Module
    parameters: dict[str, Tensor]

    def __call__(self, pixels: Tensor) -> Tensor:
        logits: Tensor = functional_call(self.skeleton, self.parameters, (pixels,))
        return logits


@dataclass(frozen=True, eq=False)
class _Asked:
    """The arguments of `collect` that do not change from slot to slot."""

    crop: Crop
    windows: int
    seed: int
    maps: int
    covering: bool
    device: torch.device

    def signals(
        self,
        predicts: Sequence[Predict],
        empty: SegmentationData,
        slots: Sequence[CanarySlot],
        decoys: Decoys | None,
    ) -> Signals:
        require(self.windows >= 1, "windows", "at least 1", self.windows)
        require(self.maps >= 0, "maps", "at least 0", self.maps)
        require(len(slots) >= 1, "slots", "at least one", len(slots))
        generator = np.random.default_rng(self.seed)
        shown = [self._slot(predicts, empty, slot, generator) for slot in slots]
        losses, confidences, maps = (np.stack(part, axis=1) for part in zip(*shown, strict=True))
        return Signals(
            losses,
            confidences,
            np.stack([_content_features(slot, len(empty.classes)) for slot in slots]),
            maps if self.maps else None,
            None if decoys is None else self.signals(predicts, decoys.empty, decoys.slots, None),
        )

    def _slot(
        self,
        predicts: Sequence[Predict],
        empty: SegmentationData,
        slot: CanarySlot,
        generator: np.random.Generator,
    ) -> tuple[Array, Array, Array]:
        """Returns all models' losses and confidences (M, W, 2, 2) and maps (M, 2, 2, g, g)."""
        side = max(1, self.maps)
        queries = slot_queries(
            empty, slot, self.crop, self.windows, generator, side, covering=self.covering
        )
        pixels = prepare(queries.images.to(self.device))
        asked = queries.to(self.device)
        found = [answers(predict, pixels, asked, side) for predict in predicts]
        losses, confidences, maps = (torch.stack(part) for part in zip(*found, strict=True))
        return losses.numpy(), confidences.numpy(), maps.numpy()


def _content_features(slot: CanarySlot, classes: int) -> Array:
    """Returns a content's colours in both worlds, and which labels A has more often than B."""
    colours = []
    for texture in (slot.texture_a, slot.texture_b):
        shown = texture[:, slot.pixels].double() / 255
        colours += [shown.mean(dim=1), shown.std(dim=1, correction=0)]
    a, b = (
        torch.bincount(labels[slot.pixels & (labels != IGNORE)].long(), minlength=classes)
        for labels in (slot.labels_a, slot.labels_b)
    )
    share = (a - b).double() / max(1, int(slot.pixels.sum()))
    return np.asarray(torch.cat([*colours, share]).numpy())
