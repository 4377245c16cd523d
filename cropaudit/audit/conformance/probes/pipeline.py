"""Runs a user's whole training on a model of ours, and notes which images each update used.

The model notes what it is shown while gradients are on; torch tells of each real optimiser step,
also of the one inside Opacus' optimiser, which runs only when a batch is complete. All that was
shown between two steps is one batch, so that physical pieces of a batch count as one.
"""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook
from torch.utils.data import DataLoader

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.batches import Batches
from cropaudit.audit.conformance.probes.datasets import ColouredImages, records_of
from cropaudit.audit.conformance.probes.loader import records_for
from cropaudit.audit.conformance.probes.sampling_parts import stated_rate
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.audit.conformance.worker.guard import Guard
from cropaudit.audit.conformance.worker.user_code import where_of

__all__ = ["CLASSES", "WatchedNet", "probe_pipeline"]

CLASSES = 19  # Cityscapes' and most street scenes'
_CHANNELS = 3
_WIDTH = 4
_SAMPLES = 16  # pixels a side that the colour of an image is read from


class _Diary:
    """What happened in a training, in order.

    Attributes:
        shown: Colours of the images of each step so far, those of the next one last.
        updates: Real optimiser steps.
        epochs: Steps that were done when a loader was begun.
        rate: That a loader states, or -1.
        divisor: That Opacus' optimiser states, or -1.
        forwards: Batches that were shown, with gradients.
    """

    def __init__(self, beat: Callable[[], None]) -> None:
        self.shown: list[list[NDArray[np.float64]]] = [[]]
        self.updates = 0
        self.forwards = 0
        self.epochs: list[int] = []
        self.rate = -1.0
        self.divisor = -1.0
        self.parameters: set[int] = set()
        self._beat = beat

    def look(self, images: Tensor) -> None:
        """Notes a batch that the model is shown."""
        self._beat()
        if not torch.is_grad_enabled():
            return
        self.forwards += 1
        self.shown[-1].append(_colours(images))

    def step(self, optimizer: Optimizer) -> None:
        """Notes a real step of an optimiser of our model."""
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if held.isdisjoint(self.parameters):
            return
        if not self.updates:
            self.divisor = _divisor(optimizer)
        self.updates += 1
        self.shown.append([])

    def begin(self, loader: Any) -> None:
        """Notes that a loader begins."""
        self.epochs.append(self.updates)
        self.rate = max(self.rate, stated_rate(loader))


class WatchedNet(nn.Module):
    """Maps (B, 3, H, W) to logits (B, `CLASSES`, H, W), and writes down what it was shown.

    The diary belongs to the process and not to the model, so that copies write into it as well:
    Opacus' ModuleValidator copies models by pickling them.
    """

    diary: _Diary | None = None

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(_CHANNELS, _WIDTH, 3, padding=1)
        self.activation = nn.ReLU()
        self.head = nn.Conv2d(_WIDTH, CLASSES, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits."""
        diary = WatchedNet.diary
        if diary is not None:
            diary.parameters.update(id(p) for p in self.parameters())
            diary.look(images)
        logits: Tensor = self.head(self.activation(self.features(images.contiguous())))
        return logits


def probe_pipeline(train: Any, guard: Guard, subjects: Subjects, claimed: Claimed) -> Batches:
    """Runs ``train(model, dataset)`` once.

    Args:
        train: The user's training.
        guard: Around it; each batch that the model is shown counts as a call that came back.
        subjects: Its seed.
        claimed: Size of the images, and records.

    Raises:
        UserError: If it raises, or never trains the model.
    """
    where = where_of(train)
    if not callable(train):
        words = f"a pipeline must be a function train(model, dataset), got {type(train).__name__}"
        raise guard.fail("type", words, where)
    torch.manual_seed(subjects.seed)
    model, dataset = WatchedNet(), ColouredImages(claimed.image, records_for(claimed))
    diary = _Diary(lambda: guard.call(_nothing))
    diary.parameters.update(id(p) for p in model.parameters())
    with _watched(diary):
        guard.call(train, model, dataset)
    if not diary.forwards:
        words = "train(model, dataset) must show the model its images with gradients on; it did not"
        raise guard.fail("type", words, where)
    return _batches(diary, len(dataset), where)


@contextmanager
def _watched(diary: _Diary) -> Iterator[None]:
    handle = register_optimizer_step_post_hook(lambda optimizer, _, __: diary.step(optimizer))
    begin = DataLoader.__iter__

    def noted(loader: Any) -> Any:
        diary.begin(loader)
        return begin(loader)

    WatchedNet.diary = diary
    DataLoader.__iter__ = noted  # type: ignore[method-assign]
    try:
        yield
    finally:
        DataLoader.__iter__ = begin  # type: ignore[method-assign]
        WatchedNet.diary = None
        handle.remove()


def _batches(diary: _Diary, records: int, where: str) -> Batches:
    """Returns the batches; of a run whose steps were not told, each batch shown is one."""
    told = diary.updates > 0
    steps = diary.shown[: diary.updates] if told else [[part] for part in diary.shown[0]]
    sizes = np.array([sum(len(part) for part in parts) for parts in steps], dtype=np.int64)
    parts = [part for of_step in steps for part in of_step]
    colours = np.concatenate([np.zeros((0, _CHANNELS)), *parts])
    record = records_of(colours, records)
    unread = 0 if record is not None else len(colours)
    step = np.repeat(np.arange(len(steps)), sizes)
    ends = [*diary.epochs, diary.updates] if told else [0, len(steps)]
    epochs = np.diff(sorted({0, *ends}))
    return Batches(
        records=records,
        record=np.zeros(0, dtype=np.int64) if record is None else record,
        step=step if record is not None else step[:0],
        epoch_steps=epochs.astype(np.int64),
        updates=diary.updates if told else -1,
        expected_batch=diary.divisor,
        source="pipeline",
        where=where,
        stated_rate=diary.rate,
        unread=unread,
    )


def _colours(images: Tensor) -> NDArray[np.float64]:
    """Returns the colour of each image, shape (B, 3): the median, so that padding is no matter."""
    # Under vmap each image is seen alone; the whole batch is behind it.
    while torch._C._functorch.is_functorch_wrapped_tensor(images):
        images = torch._C._functorch.get_unwrapped(images)
    if images.ndim < 3 or images.shape[-3] != _CHANNELS:
        raise ValueError(f"the model takes images (B, 3, H, W), got {tuple(images.shape)}")
    with temporarily_clear_interpreter_stack():
        flat = images.detach().reshape(-1, *images.shape[-3:])
        if not len(flat):
            return np.zeros((0, _CHANNELS))
        rows, columns = (max(side // _SAMPLES, 1) for side in flat.shape[-2:])
        pixels = flat[:, :, ::rows, ::columns].flatten(2).double().cpu()
        colours: NDArray[np.float64] = pixels.median(dim=2).values.numpy()
    return colours


def _divisor(optimizer: Optimizer) -> float:
    """Returns the expected batch size of the DPOptimizer around an optimiser, or -1."""
    opacus = sys.modules.get("opacus.optimizers")
    if opacus is None:
        return -1.0
    for item in gc.get_objects():
        # Of the type itself: asking proxies for their class may run anything.
        if issubclass(type(item), opacus.DPOptimizer) and item.original_optimizer is optimizer:
            return float(item.expected_batch_size or -1)
    return -1.0


def _nothing() -> None:
    """Lets the heart beat."""
