"""A network whose per-image gradient is known in direction whatever the loss, and its images.

Its layers stand side by side, each reads pixels of its own, and what they give is added to one
class's logit at every pixel. All but the two wide ones are read out through further pixels of the
image, so that an image decides which single weight, bias or scale it pulls at. An image of
``size`` has the gradient ``slope * size`` along known coordinates, where the slope depends on the
loss alone, and a clipped gradient of norm C along them. Coordinates that no image uses carry noise
only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cropaudit.audit.conformance.observe.updates import SCENARIOS, SIZES

__all__ = [
    "SIDE",
    "TENSORS",
    "WIDE",
    "Plan",
    "ProbeNet",
    "Pull",
    "all_weights_finite",
    "plan_round",
    "unread",
]

SIDE = 32
_WIDTH = 1152
# Directions of the wide layers that images use, and output channels of the others.
_USED = 512
_CHANNELS, _BUSY = 32, 16
_LABEL = 1
# An input of this size lets a weight be pulled at with a millionth of the pull on its bias.
_FAR = 1e6
# What a pixel adds to the logit of the label: the loss of the image rises, or falls to nothing.
_HARD, _EASY = -20.0, 20.0
_LAYERS = {
    "encoder.conv": (2, 3, 3),
    "decoder.conv1d": (2, 4),
    "decoder.linear": (8,),
    "embedding": (8,),
}


def _slices() -> dict[str, slice]:
    sizes = {"backbone": _WIDTH, "head": _WIDTH}
    for name, shape in _LAYERS.items():
        sizes |= {name: math.prod(shape), f"{name}.read": _CHANNELS}
    sizes |= {"encoder.norm": 1, "encoder.norm.read": 2 * _CHANNELS}
    sizes |= {"shift": 1}
    ends = np.cumsum(list(sizes.values()))
    return {name: slice(end - sizes[name], end) for name, end in zip(sizes, ends, strict=True)}


_AT = _slices()


class ProbeNet(nn.Module):
    """Maps (B, 3, `SIDE`, `SIDE`) to logits (B, K, `SIDE`, `SIDE`); all weights start at 0."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = nn.Linear(_WIDTH, 1, bias=False)
        self.encoder = nn.ModuleDict(
            {"conv": nn.Conv2d(2, _CHANNELS, 3), "norm": nn.GroupNorm(_CHANNELS, _CHANNELS)}
        )
        self.decoder = nn.ModuleDict(
            {"conv1d": nn.Conv1d(2, _CHANNELS, 4), "linear": nn.Linear(8, _CHANNELS)}
        )
        self.embedding = nn.Linear(8, _CHANNELS, bias=False)
        self.head = nn.Linear(_WIDTH, 1, bias=False)
        # One class only bears the sum; the mask lights up wherever there are classes to tell.
        self.label = min(_LABEL, classes - 1)
        self.classes = classes
        self.reset()

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits, 0 but for one class."""
        pixels = images.reshape(len(images), 3 * SIDE * SIDE)
        pull = self.backbone(pixels[:, _AT["backbone"]]) + self.head(pixels[:, _AT["head"]])
        for name, shape in _LAYERS.items():
            layer = self.get_submodule(name)
            found = layer(pixels[:, _AT[name]].reshape(-1, *shape)).flatten(1)
            pull = pull + (found * pixels[:, _AT[f"{name}.read"]]).sum(dim=1, keepdim=True)
        pair = pixels[:, _AT["encoder.norm"]]
        pairs = torch.cat([pair, -pair], dim=1)[:, None].expand(-1, _CHANNELS, -1).contiguous()
        found = self.encoder["norm"](pairs).flatten(1) * pixels[:, _AT["encoder.norm.read"]]
        pull = pull + found.sum(dim=1, keepdim=True) + pixels[:, _AT["shift"]]
        parts = [pull if k == self.label else 0 * pull for k in range(self.classes)]
        logits = torch.cat(parts, dim=1)
        return logits[:, :, None, None].expand(-1, -1, SIDE, SIDE).contiguous()

    def reset(self) -> None:
        """Sets the weights to 0, in place, so that optimisers and wrappers keep them."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
                parameter.grad = None

    def weights(self) -> NDArray[np.float64]:
        """Returns all weights, (P,), parameter after parameter."""
        flat = torch.cat([parameter.detach().flatten() for parameter in self.parameters()])
        found: NDArray[np.float64] = flat.cpu().double().numpy()
        return found

    @staticmethod
    def layers() -> NDArray[np.int64]:
        """Returns the index in `TENSORS` of the parameter of each weight, (P,)."""
        return np.repeat(np.arange(len(TENSORS)), list(_SIZE.values()))

    @staticmethod
    def quiet() -> NDArray[np.bool_]:
        """Returns which weights no image uses, (P,)."""
        return np.concatenate([np.arange(_SIZE[n]) >= _busy(n) for n in TENSORS])


def _template() -> dict[str, int]:
    with torch.random.fork_rng(devices=[]):
        return {name: parameter.numel() for name, parameter in ProbeNet(2).named_parameters()}


_SIZE = _template()
TENSORS = tuple(_SIZE)
WIDE = (TENSORS.index("backbone.weight"), TENSORS.index("head.weight"))
_START = dict(zip(TENSORS, np.cumsum([0, *_SIZE.values()]).tolist(), strict=False))


def _busy(name: str) -> int:
    """Returns how many of the first weights of a parameter images use."""
    if TENSORS.index(name) in WIDE:
        return _USED
    return _SIZE[name] * _BUSY // _CHANNELS


@dataclass(frozen=True)
class Pull:
    """Images of one step along one direction.

    Attributes:
        axis: Within the parameters.
        tensors: Indices in `TENSORS`: the direction has one coordinate in each.
        ahead: Images along it.
        against: Images against it.
        size: Of the gradient, times the loss's slope.
    """

    axis: int
    tensors: tuple[int, ...]
    ahead: int
    against: int = 0
    size: float = SIZES[1]

    @property
    def coordinates(self) -> tuple[int, ...]:
        """Indices of the weights that it pulls at."""
        return tuple(_START[TENSORS[i]] + self._within(TENSORS[i]) for i in self.tensors)

    def row(self) -> NDArray[np.float32]:
        """Returns the pixels of one image along it, flat."""
        pixels = np.zeros(3 * SIDE * SIDE, dtype=np.float64)
        share = self.size / math.sqrt(len(self.tensors))
        names = [TENSORS[i] for i in self.tensors]
        for layer in dict.fromkeys(name.rpartition(".")[0] for name in names):
            weight, bias = f"{layer}.weight" in names, f"{layer}.bias" in names
            self._write(pixels, layer, share, weight, bias)
        return pixels.astype(np.float32)

    def _write(
        self, pixels: NDArray[np.float64], layer: str, share: float, weight: bool, bias: bool
    ) -> None:
        at, channel = _AT[layer].start, self.axis % _BUSY
        if layer in ("backbone", "head"):
            pixels[at + self.axis % _USED] = share
            return
        read = _AT[f"{layer}.read"].start
        if layer == "encoder.norm":
            # Normalised, the pair is 1 and -1: its difference bears the scale, its sum the shift.
            ends = (share, 0) if weight and bias else (share / 2, share / 2 if bias else -share / 2)
            pixels[at] = _FAR * weight
            pixels[read + 2 * channel : read + 2 * channel + 2] = ends
        else:
            inner = self._within(f"{layer}.weight") % math.prod(_LAYERS[layer])
            alone = weight and not (bias or layer == "embedding")
            pixels[at + inner] = _FAR if alone else float(weight)
            pixels[read + channel] = share / _FAR if alone else share

    def _within(self, name: str) -> int:
        if TENSORS.index(name) in WIDE:
            return self.axis % _USED
        width = _SIZE[name] // _CHANNELS
        return self.axis % _BUSY * width + self.axis // _BUSY % width


@dataclass(frozen=True)
class Plan:
    """One batch.

    Attributes:
        scenario: Index into `SCENARIOS`.
        pulls: Its images.
        blanks: Images of zeros, without a gradient.
    """

    scenario: int
    pulls: tuple[Pull, ...]
    blanks: int = 0

    @property
    def count(self) -> int:
        """Images in the batch."""
        return self.blanks + sum(p.ahead + p.against for p in self.pulls)

    def batch(self, label: int) -> tuple[Tensor, Tensor]:
        """Returns images (B, 3, `SIDE`, `SIDE`) and masks (B, `SIDE`, `SIDE`) full of ``label``."""
        rows = np.zeros((self.count, 3 * SIDE * SIDE), dtype=np.float32)
        done = 0
        for pull in self.pulls:
            end = done + pull.ahead + pull.against
            rows[done:end] = pull.row()
            # The sign stands where the image is read out; what is read must keep its own.
            rows[done + pull.ahead : end, _SIGNED] *= -1
            done = end
        shifts = {"hard": _HARD, "easy": _EASY}
        rows[:, _AT["shift"]] = shifts.get(SCENARIOS[self.scenario], 0.0)
        images = torch.from_numpy(rows).reshape(-1, 3, SIDE, SIDE)
        masks = torch.full((self.count, SIDE, SIDE), label, dtype=torch.int64)
        return images, masks


_SIGNED = np.concatenate(
    [
        np.arange(3 * SIDE * SIDE)[part]
        for name, part in _AT.items()
        if name in ("backbone", "head") or name.endswith(".read")
    ]
)


def unread(images: Tensor, fill: float) -> Tensor:
    """Returns the images with ``fill`` in pixels that are multiplied by 0 in each of them.

    Neither logits nor gradients change with it, not by a bit.
    """
    rows = images.reshape(len(images), 3 * SIDE * SIDE).clone()
    for name in ("encoder.conv", "decoder.linear"):
        if bool(rows[:, _AT[f"{name}.read"]].any()):
            raise ValueError(f"{name} is read")
        rows[:, _AT[name]] = fill
    rows[:, _AT["shift"].stop :] = fill
    return rows.reshape(images.shape)


# Scenario, pulls (parameters, images ahead, images against, size), and images of zeros.
_Recipe = tuple[str, list[tuple[tuple[int, ...], int, int, float]], int]


def _stack(scenario: str, tensors: tuple[int, ...], images: int, size: float) -> _Recipe:
    return scenario, [(tensors, images, 0, size)], 0


def plan_round(
    index: int,
    start: int,
    base: int,
    singles: int,
    large: int,
    ladder: Sequence[tuple[float, int]] = (),
) -> list[Plan]:
    """Returns the batches of one round, on directions that neighbours in time do not share.

    Args:
        index: Of the round; layers and sizes alternate.
        start: First direction to use.
        base: Images in a batch of usual size.
        singles: Batches of one image.
        large: Images in the large batches.
        ladder: Sizes to measure, and how many images each.
    """
    big = SIZES[index % 2], SIZES[(index + 1) % 2]
    one_layer = (WIDE[index % 2],)
    narrow: list[tuple[int, ...]] = [(i,) for i in range(len(TENSORS)) if i not in WIDE]
    everywhere = tuple(range(len(TENSORS)))
    recipes: Sequence[_Recipe] = (
        ("empty", [], 0),
        ("distinct", [(WIDE, 1, 0, SIZES[k % 2]) for k in range(base)], 0),
        ("empty", [], 0),
        ("stack", [(WIDE, large, 0, big[0])], 0),
        ("mixed", [(WIDE, 1 + k % 2, k % 3 == 0, SIZES[1]) for k in range(max(1, base // 3))], 2),
        ("stack in one layer", [(one_layer, large, 0, SIZES[1])], 0),
        ("stack", [(WIDE, base, 0, big[1])], 0),
        ("hard", [(WIDE, 1, 0, SIZES[1]) for _ in range(base)], 0),
        *[_stack("parameter", tensors, base, SIZES[1]) for tensors in narrow],
        ("easy", [], base),
        ("everywhere", [(everywhere, large, 0, SIZES[1])], 0),
        *[_stack("ladder", WIDE, images, size) for size, images in ladder],
        *[_stack("single", WIDE, 1, SIZES[k % 2]) for k in range(singles)],
        ("large", [(WIDE, 1, 0, SIZES[1]) for _ in range(large)], 0),
    )
    plans = []
    for name, kinds, blanks in recipes:
        pulls = tuple(
            Pull(start + k, tensors, int(ahead), int(against), size)
            for k, (tensors, ahead, against, size) in enumerate(kinds)
        )
        start += len(pulls)
        plans.append(Plan(SCENARIOS.index(name), pulls, blanks))
    return plans


def all_weights_finite(model: nn.Module) -> bool:
    """Returns whether no weight is NaN or infinite."""
    return all(bool(torch.isfinite(p).all()) for p in model.parameters())
