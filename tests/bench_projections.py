"""Rows of `tests.bench`: canaries of a large model scored by projection beside whole gradients.

Both give the same clipped scores: norms and projections on one vector of the gradients of 64
canaries of PSPNet, ResNet-18, at 96x96. The plain way materialises gradients by nested vmap and
grad, in chunks, as `cropaudit.attacks.white_box` does, and keeps only what is asked for.
"""

import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from cropaudit.attacks.projections import Projector
from cropaudit.training.losses import pixel_losses
from cropaudit.training.models import build_model
from cropaudit.training.peak_memory import PeakMemory

__all__ = ["projection_rows"]

CANARIES, SIDE, CLASSES, CHUNK, ROUNDS = 64, 96, 19, 16, 3

# What was measured, its value, unit, the plain way, its value, the ratio, a note: as in `Row`.
Line = tuple[str, float, str, str, float, float, str]


def projection_rows() -> Iterator[Line]:
    """Times one scoring of all canaries, with norms and without, and measures its memory."""
    model = build_model("pspnet", CLASSES, 0)
    stream = torch.Generator().manual_seed(0)
    images = torch.randn(CANARIES, 3, SIDE, SIDE, generator=stream)
    masks = torch.randint(CLASSES, (CANARIES, SIDE, SIDE), generator=stream)
    parameters = [p for p in model.parameters() if p.requires_grad]
    y = torch.randn(sum(p.numel() for p in parameters), generator=stream)
    projector = Projector(model, max_grad_norm=1.0, chunk=CHUNK)
    ways = {
        "with norms": lambda: projector.project(images, masks, y).clipped,
        "norms known": lambda: projector.dots(images, masks, y),
        "whole": lambda: materialised(model, images, masks, y),
    }
    taken = dict(zip(ways, _alternating(list(ways.values())), strict=True))
    plain, words = taken["whole"], f"vmap of grad, {CHUNK} at once"
    error = _largest_error(images[:4], masks[:4], y)
    note = f"{CANARIES} canaries; clipped scores within {error:.0e} in float64"
    for name, what in (("with norms", note), ("norms known", "forward mode")):
        label = f"PSPNet canaries projected, {name}"
        yield label, taken[name], "s", words, plain, plain / taken[name], what
    peaks = [_peak(ways[name]) / 2**20 for name in ("with norms", "whole")]
    held = CANARIES * len(y) * 4 / 2**20
    note = f"all gradients at once would be {held:.0f} MiB more"
    label = "peak memory of the same, with norms"
    yield label, peaks[0], "MiB", words, peaks[1], peaks[1] / peaks[0], note


def materialised(model: nn.Module, images: Tensor, masks: Tensor, y: Tensor) -> Tensor:
    """Returns clipped projections from whole per-image gradients, a chunk at a time; C is 1."""
    trainable = {k: p.detach() for k, p in model.named_parameters() if p.requires_grad}
    frozen = {k: p.detach() for k, p in model.named_parameters() if not p.requires_grad}

    def loss(parameters: dict[str, Tensor], image: Tensor, mask: Tensor) -> Tensor:
        logits = functional_call(model, {**parameters, **frozen}, (image[None],))
        return pixel_losses(logits, mask[None])[0]

    each, found = vmap(grad(loss), in_dims=(None, 0, 0)), []
    for start in range(0, len(images), CHUNK):
        piece = slice(start, start + CHUNK)
        taken = each(trainable, images[piece], masks[piece])
        flat = torch.cat([taken[name].flatten(1) for name in trainable], dim=1)
        found.append((flat @ y) / flat.norm(dim=1).clamp(min=1.0))
    return torch.cat(found)


def _alternating(ways: list[Callable[[], object]]) -> list[float]:
    """Returns the median time of each, taken in turns: what else runs slows all of them alike."""
    taken: list[list[float]] = [[] for _ in ways]
    for number in range(ROUNDS + 1):
        for way, times in zip(ways, taken, strict=True):
            start = time.perf_counter()
            way()
            if number:  # the first round warms up
                times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken]


def _largest_error(images: Tensor, masks: Tensor, y: Tensor) -> float:
    """Returns how far both ways lie apart in float64, in units of the largest clipped score."""
    model = build_model("pspnet", CLASSES, 0).double()
    ours = Projector(model, max_grad_norm=1.0).project(images, masks, y).clipped
    plain = materialised(model, images.double(), masks, y.double())
    return float((ours - plain).abs().max() / plain.abs().max())


def _peak(way: Callable[[], object]) -> float:
    with PeakMemory() as memory:
        way()
    return float(memory.peak)
