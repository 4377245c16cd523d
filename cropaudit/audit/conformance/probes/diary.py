"""What happens in a training, written down while it runs: batches, gradients, noise, steps.

Torch tells of each real step of an optimiser, before and after it: also of the one inside Opacus'
optimiser, which runs only when a batch is complete. There p.grad is the noisy gradient, and the
optimiser around it still holds the sum of clipped ones. All that was shown between two steps is one
batch, so that physical pieces of a batch count as one. After each step the weights are put back.
"""

import gc
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.optim.optimizer import Optimizer

from cropaudit.audit.conformance.observe.training import Training
from cropaudit.audit.conformance.probes.sampling_parts import stated_rate
from cropaudit.audit.conformance.probes.textures import Place
from cropaudit.audit.conformance.probes.twins import Twin
from cropaudit.audit.conformance.probes.watched_net import (
    CHANNELS,
    QUIET,
    WatchedNet,
    image_gradients,
    unwrapped,
)
from cropaudit.audit.conformance.probes.worlds import LABELS, TexturedImages

__all__ = ["Shown", "TrainingDiary"]

Array = NDArray[np.float64]

_SAMPLES = 16  # pixels a side that the colour of an image is read from
_ROWS = 1_000  # steps whose noise is kept
_SEED = 5
_EPSILON = 1e-6  # Opacus' own, in the factor C / (norm + 1e-6)


@dataclass(frozen=True, eq=False)
class Shown:
    """One image that the model was shown.

    Attributes:
        colour: Its median colour, (3,).
        place: Where it comes from, if that can be told.
        digest: Of its pixels.
        pull: How the loss pulls at its outputs: size, and a projection; none if it was not seen.
    """

    colour: Array
    place: Place | None
    digest: int
    pull: tuple[float, float] | None


@dataclass(eq=False)
class _Batch:
    """What the model was shown at once, and the loss's gradient at its outputs."""

    images: Tensor
    pull: Tensor | None = None


@dataclass(eq=False)
class _Row:
    """One real step."""

    settings: tuple[float, float, float, float] = (np.nan,) * 4
    count: int = 0
    noise: Array | None = None
    handed: Array | None = None
    errors: tuple[float, ...] = (np.nan,) * 6
    beside: float = np.nan


@dataclass(eq=False)
class TrainingDiary:
    """What happened in a training, in order.

    Attributes:
        data: The images that are shown.
        beat: Called for each batch.
        steps: Images of each step so far, those of the next one last.
        rows: Real optimiser steps.
        told: Whether torch told of them; else the weights moved between batches.
        epochs: Steps that were done when a loader was begun.
        rate: That a loader states, or -1.
        forwards: Batches that were shown, with gradients.
        private: Opacus' optimiser around the one that steps, or none.
        finite: Whether gradients and weights were finite.
    """

    data: TexturedImages
    beat: Callable[[], None]
    steps: list[list[Shown]] = field(default_factory=lambda: [[]])
    rows: list[_Row] = field(default_factory=list)
    told: bool = False
    epochs: list[int] = field(default_factory=list)
    rate: float = -1.0
    forwards: int = 0
    private: Any = None
    finite: bool = True

    def __post_init__(self) -> None:
        self._pending: list[_Batch] = []
        self._names: dict[int, str] = {}
        self._weights: dict[str, nn.Parameter] = {}
        self._start: dict[str, Tensor] = {}
        self._own: WatchedNet | None = None
        self._twin: Twin | None = None
        self._now = _Row()
        self._privates: dict[int, Any] = {}
        self._labels: NDArray[np.int64] | None = None
        self._after = 0.0

    def adopt(self, net: WatchedNet) -> None:
        """Takes the model that is handed out, before anybody else has it."""
        self.know(net)
        with torch.random.fork_rng(devices=[]):  # what is drawn here is nobody else's affair
            self._own = WatchedNet(net.head.out_channels)
        self._begin(dict(net.named_parameters()))

    def know(self, net: WatchedNet) -> None:
        """Notes the parameters of a model, or of a copy of it."""
        for name, parameter in net.named_parameters():
            self._names.setdefault(id(parameter), name)

    def before(self, net: WatchedNet) -> None:
        """Notes weights that were moved by hand since the last batch."""
        if _transformed(net):
            return
        self.know(net)
        if not self.told and not self.forwards:
            self._begin(dict(net.named_parameters()))
        elif not self.told:
            self._moved_by_hand(net)

    def shown(self, net: WatchedNet, images: Tensor, logits: Tensor) -> None:
        """Notes a batch that the model was shown, and waits for the loss's gradient."""
        self.beat()
        if not torch.is_grad_enabled():
            return
        self.forwards += 1
        whole = unwrapped(images)
        if whole.ndim < 3 or whole.shape[-3] != CHANNELS:
            raise ValueError(f"the model takes images (B, 3, H, W), got {tuple(whole.shape)}")
        with temporarily_clear_interpreter_stack():
            flat = whole.detach().reshape(-1, *whole.shape[-3:]).clone()
        batch = _Batch(flat)
        self._pending.append(batch)
        if whole is images and logits.requires_grad:
            hook: Callable[..., Any] = logits.register_hook
            hook(lambda pull: _first_pull(batch, pull))

    def begin(self, loader: Any) -> None:
        """Notes that a loader begins."""
        self.epochs.append(len(self.rows))
        self.rate = max(self.rate, stated_rate(loader))

    def before_step(self, optimizer: Optimizer) -> None:
        """Reads what an optimiser is about to use: the noisy gradient, and how it came about."""
        held = self._held(optimizer)
        if not held:
            return
        if not self.told and not self.rows and len(held) == len(self._start):
            self._begin(held)
        private = self._around(optimizer)
        self.private = self.private or private
        self.told, self._weights = True, held
        self._now = row = _Row(count=sum(len(batch.images) for batch in self._pending))
        rate = float(optimizer.param_groups[0].get("lr", np.nan))
        row.settings = (*_settings(private), rate)
        whole = len(held) == len(self._start) and self._own is not None
        if whole:
            handed = _flat([_gradient(p) for p in held.values()])
            self.finite &= bool(np.isfinite(handed).all())
            self._read_sum(row, handed, private)
            if len(self.rows) < _ROWS:
                row.handed = handed[self._tensor() == list(held).index(QUIET)]
            if self._twin is None:
                self._twin = Twin(optimizer, list(held.values()))
            self._twin.step(optimizer, list(held.values()))

    def after_step(self, optimizer: Optimizer) -> None:
        """Notes the step, and puts the weights back."""
        held = self._held(optimizer)
        if not held:
            return
        if self._twin is not None and self._twin.usable and len(held) == len(self._start):
            change = _flat([held[name].detach() - self._start[name] for name in held])
            self.finite &= bool(np.isfinite(change).all())
            size = max(float(np.abs(change).max()), 1e-30)
            self._now.beside = float(np.abs(change - self._twin.change).max()) / size
        self._end_step(self._now, held)

    def close(self) -> None:
        """Notes what is left when the training is over."""
        if self.told and self.rows:
            largest = max(float(p.abs().max()) for p in self._start.values())
            moved = [
                float((p.detach() - self._start[name]).abs().max())
                for name, p in self._weights.items()
            ]
            # numpy's maximum keeps a NaN wherever it stands; Python's drops all but a first one.
            self._after = float(np.max(moved)) / max(largest, 1e-30)
        if not self.told and self.rows and self._pending:
            self._end_step(_Row(count=sum(len(b.images) for b in self._pending)), {})
        elif not self.rows:  # no step was told: each batch that was shown is one
            asked = [batch for batch in self._pending if batch.pull is not None]
            self.steps = [self._read(batch) for batch in asked or self._pending]
            self._pending.clear()

    def training(self, where: str) -> Training:
        """Returns the rows as one observation."""
        rows = self.rows
        settings = np.array([row.settings for row in rows]).reshape(-1, 4)
        errors = np.array([row.errors for row in rows]).reshape(-1, 3, 2)
        noise = [row.noise for row in rows if row.noise is not None]
        handed = [row.handed for row in rows if row.handed is not None]
        width = sum(value.numel() for value in self._start.values())
        return Training(
            private="" if self.private is None else type(self.private).__name__,
            optimiser="" if self._twin is None else self._twin.words,
            noise_multiplier=settings[:, 0],
            max_grad_norm=settings[:, 1],
            expected_batch=settings[:, 2],
            learning_rate=settings[:, 3],
            count=np.array([row.count for row in rows], dtype=np.int64),
            noise=np.stack(noise) if noise else np.zeros((0, width)),
            handed=np.stack(handed) if handed else np.zeros((0, 0)),
            tensor=self._tensor(),
            names=np.array(list(self._start), dtype=np.str_),
            sum_error=errors[:, 0],
            raw_error=errors[:, 1],
            norm=errors[:, 2],
            beside=np.array([row.beside for row in rows], dtype=np.float64),
            finite=self.finite,
            labels=np.zeros((0, 0), dtype=np.int64) if self._labels is None else self._labels,
            where=where,
            after=self._after,
        )

    def _begin(self, held: dict[str, nn.Parameter]) -> None:
        """Takes the weights as they are for those that the training begins with."""
        self._start = {name: p.detach().clone() for name, p in held.items()}
        if self._own is not None:
            self._own.load_state_dict(self._start)

    def _tensor(self) -> NDArray[np.int64]:
        sizes = [value.numel() for value in self._start.values()]
        return np.repeat(np.arange(len(sizes)), sizes)

    def _held(self, optimizer: Optimizer) -> dict[str, nn.Parameter]:
        """Returns the parameters of our model that an optimiser holds, in the model's order."""
        found = {
            self._names[id(p)]: p
            for group in optimizer.param_groups
            for p in group["params"]
            if id(p) in self._names
        }
        order = list(self._start) or list(found)
        return {name: found[name] for name in order if name in found}

    def _around(self, optimizer: Optimizer) -> Any:
        """Returns Opacus' optimiser around this one, looked for once; none of a plain one."""
        if id(optimizer) not in self._privates:
            self._privates[id(optimizer)] = _private_around(optimizer)
        return self._privates[id(optimizer)]

    def _read_sum(self, row: _Row, handed: Array, private: Any) -> None:
        """Takes the noise from Opacus' sum, and holds the sum against each image's gradient."""
        summed = [getattr(p, "summed_grad", None) for p in self._weights.values()]
        batch, norm = row.settings[2], row.settings[1]
        if private is None or any(part is None for part in summed):
            return
        mean = getattr(private, "loss_reduction", "mean") == "mean"
        pieces = int(getattr(private, "accumulated_iterations", 1) or 1) if mean else 1
        total = _flat([part for part in summed if part is not None])
        if len(self.rows) < _ROWS and (not mean or np.isfinite(batch)):
            row.noise = handed * (batch * pieces if mean else 1) - total
        gradients = self._image_gradients()
        if gradients is None or not norm > 0:
            return
        errors = [_distances(total, scaled, norm) for scaled in gradients]
        row.errors = tuple(value for pair in zip(*errors, strict=True) for value in pair)

    def _image_gradients(self) -> tuple[Array, Array] | None:
        """Returns the gradient of each pending image, for mean losses and for sums."""
        asked = [batch for batch in self._pending if batch.pull is not None]
        if self._own is None or (self._pending and not asked):
            return None
        rows = [
            image_gradients(self._own, batch.images, batch.pull)
            for batch in asked
            if batch.pull is not None
        ]
        width = sum(value.numel() for value in self._start.values())
        empty = np.zeros((0, width))
        means = [part * len(part) for part in rows]
        return np.concatenate([empty, *means]), np.concatenate([empty, *rows])

    def _moved_by_hand(self, net: WatchedNet) -> None:
        moved = [
            not torch.equal(p.detach(), self._start[name])
            for name, p in net.named_parameters()
            if name in self._start
        ]
        if any(moved) and self._pending:
            count = sum(len(batch.images) for batch in self._pending)
            self._end_step(_Row(count=count), dict(net.named_parameters()))

    def _end_step(self, row: _Row, held: dict[str, nn.Parameter]) -> None:
        self.rows.append(row)
        self._put_down()
        self.steps.append([])
        with torch.no_grad():
            for name, parameter in held.items():
                parameter.copy_(self._start.get(name, parameter))

    def _put_down(self) -> None:
        """Reads the images that were shown since the last step."""
        asked = [batch for batch in self._pending if batch.pull is not None]
        for batch in asked or self._pending:
            self.steps[-1] += self._read(batch)
        self._pending.clear()

    def _read(self, batch: _Batch) -> list[Shown]:
        images = batch.images
        if not len(images):
            return []
        rows, columns = (max(side // _SAMPLES, 1) for side in images.shape[-2:])
        pixels = images[:, :, ::rows, ::columns].flatten(2).double().cpu()
        colours = pixels.median(dim=2).values.numpy()
        found = []
        for i, image in enumerate(images.cpu().double().permute(0, 2, 3, 1).numpy()):
            digest = zlib.crc32(np.ascontiguousarray(image).tobytes())
            place, pull = self.data.textures.locate(image), None
            if batch.pull is not None:
                pull = _projected(batch.pull[i])
                self._note_labels(place, batch.pull[i])
            found.append(Shown(colours[i], place, digest, pull))
        return found

    def _note_labels(self, place: Place | None, pull: Tensor) -> None:
        if place is not None:
            more = _labels(pull, self.data.labels(place), len(pull))
            self._labels = more if self._labels is None else self._labels + more


def _first_pull(batch: _Batch, pull: Tensor) -> None:
    # Ghost clipping goes back twice; what it does first is as it is elsewhere.
    if batch.pull is None:
        batch.pull = pull.detach().clone()


def _projected(pull: Tensor) -> tuple[float, float]:
    flat = pull.double().flatten().cpu().numpy()
    return float(np.abs(flat).sum()), float(flat @ _direction(flat.size))


@lru_cache(maxsize=8)
def _direction(size: int) -> Array:
    return np.random.default_rng([_SEED, size]).standard_normal(size)


def _labels(pull: Tensor, expected: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Counts (label that should be there, label that the loss pulls to), (LABELS, classes)."""
    values = pull.detach().cpu()
    towards = values.argmin(dim=0).numpy()
    known = (values != 0).any(dim=0).numpy() & (expected >= 0) & (expected < LABELS)
    if expected.shape != towards.shape or classes < 2:
        return np.zeros((LABELS, classes), dtype=np.int64)
    cells = expected[known] * classes + towards[known]
    return np.bincount(cells, minlength=LABELS * classes).reshape(LABELS, classes)


def _distances(total: Array, rows: Array, norm: float) -> tuple[float, float, float]:
    """Returns distances from the clipped and the raw sum in units of C, and the largest norm."""
    norms = np.linalg.norm(rows, axis=1)
    factors = np.minimum(norm / (norms + _EPSILON), 1.0)
    clipped = float(np.linalg.norm(total - factors @ rows)) / norm
    raw = float(np.linalg.norm(total - rows.sum(axis=0))) / norm
    return clipped, raw, float(norms.max(initial=0.0))


def _settings(private: Any) -> tuple[float, float, float]:
    names = ("noise_multiplier", "max_grad_norm", "expected_batch_size")
    found = [getattr(private, name, None) for name in names]
    sigma, norm, batch = (np.nan if value is None else float(value) for value in found)
    return sigma, norm, batch


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _flat(parts: list[Tensor]) -> Array:
    rows: Array = torch.cat([p.detach().flatten() for p in parts]).cpu().double().numpy()
    return rows


def _transformed(net: WatchedNet) -> bool:
    """Returns whether the parameters are stand-ins, as under functorch or expanded weights."""
    return any(
        type(p) is not nn.Parameter or torch._C._functorch.is_functorch_wrapped_tensor(p)
        for p in net.parameters()
    )


def _private_around(optimizer: Optimizer) -> Any:
    """Returns the DPOptimizer around an optimiser, or none."""
    opacus = sys.modules.get("opacus.optimizers")
    if opacus is None:
        return None
    for item in gc.get_objects():
        # Of the type itself: asking proxies for their class may run anything.
        if issubclass(type(item), opacus.DPOptimizer) and item.original_optimizer is optimizer:
            return item
    return None
