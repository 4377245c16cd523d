"""Per-image gradients of one layer, met only as their squared norm and one projection.

A layer that is linear in its weight, seen at positions t with inputs a_t (an unfolded patch, for a
convolution) and output gradients b_t, has the weight gradient G = sum_t b_t a_t'. Then
|G|^2 = sum_{t,u} (a_t' a_u) (b_t' b_u), the Gram form of ghost clipping (Li et al., arXiv
2110.05679, eq. 4), and <G, Y> = sum_t b_t' Y a_t. Where there are more positions than entries, G
itself is the smaller thing: it is then made for a few images at a time. Positions of several calls
of one layer are concatenated, so that a layer used twice is exact. The affine part of a
normalisation and biases have one number a channel: their gradients are made as they are.

Assumes that the first axis of what a layer takes and gives counts the images.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cropaudit.attacks.double_sums import inner, squares
from cropaudit.errors import InputError

__all__ = ["Call", "Terms", "layer_terms", "readable"]

_ENTRIES = 2**23  # of scratch tensors at once: 32 MiB in float32; never less than for one image


@dataclass(frozen=True, eq=False)
class Call:
    """One use of a layer in a forward pass.

    Attributes:
        given: What the layer took, first axis N.
        gradient: Of each image's loss, by the layer's output; first axis N.
    """

    given: Tensor
    gradient: Tensor


@dataclass(frozen=True, eq=False)
class Terms:
    """What some parameters add to every image's squared norm and projection, each of shape (N,)."""

    square: Tensor
    dot: Tensor

    def __add__(self, other: "Terms") -> "Terms":
        return Terms(self.square + other.square, self.dot + other.dot)


def readable(module: nn.Module) -> bool:
    """Returns whether `layer_terms` knows this layer; a subclass may compute something else."""
    return type(module) in _LAYERS


def layer_terms(
    module: nn.Module, calls: Sequence[Call], directions: dict[str, Tensor]
) -> Iterator[Terms]:
    """Yields what each parameter in ``directions`` adds.

    Args:
        module: A layer that is `readable`.
        calls: Its uses, at least one.
        directions: Y for those of ``weight`` and ``bias`` that count, in their shapes.
    """
    yield from _LAYERS[type(module)](module, calls, directions)


def _matrix_layer(
    patches: Callable[[Any, Tensor], Tensor], outputs: Callable[[Any, Tensor], Tensor]
) -> Callable[[Any, Sequence[Call], dict[str, Tensor]], Iterator[Terms]]:
    """Makes the terms of a layer from its two views.

    Args:
        patches: Maps inputs to a of shape (N, groups, K, T).
        outputs: Maps output gradients to b of shape (N, groups, O, T).
    """

    def terms(module: Any, calls: Sequence[Call], directions: dict[str, Tensor]) -> Iterator[Terms]:
        after = _joined([outputs(module, call.gradient) for call in calls])
        if "bias" in directions:
            yield _small(after.sum(dim=3).flatten(1), directions["bias"])
        if "weight" not in directions:
            return
        _, groups, out, positions = after.shape
        direction = directions["weight"].reshape(groups, out, -1)
        use = _gram if positions * (direction.shape[2] + out) < direction.shape[2] * out else _whole
        scratch = groups * (positions * (direction.shape[2] + 2 * min(positions, out)))
        scratch += direction.numel() if use is _whole else 0
        step = max(1, _ENTRIES // scratch)
        parts = []
        for start in range(0, len(after), step):
            piece = slice(start, start + step)
            before = _joined([patches(module, call.given[piece]) for call in calls])
            parts.append(use(before, after[piece], direction))
        yield Terms(*(torch.cat(terms) for terms in zip(*parts, strict=True)))

    return terms


def _joined(views: list[Tensor]) -> Tensor:
    return views[0] if len(views) == 1 else torch.cat(views, dim=3)


def _gram(before: Tensor, after: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the squared norm as a sum over pairs of positions, and the projection.

    In float64: positions that pull against each other cancel in the sum over pairs, and the root of
    what float32 leaves of it would have three digits.
    """
    wide, late = before.double(), after.double()
    square = torch.linalg.vecdot((wide.mT @ wide).flatten(1), (late.mT @ late).flatten(1))
    dot = torch.linalg.vecdot((direction.double() @ wide).flatten(1), late.flatten(1))
    return square.clamp(min=0), dot


def _whole(before: Tensor, after: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both from the layer's gradient of these few images."""
    terms = _small((after @ before.mT).flatten(1), direction)
    return terms.square, terms.dot


def _small(gradients: Tensor, direction: Tensor) -> Terms:
    """Returns both from gradients of shape (N, size)."""
    return Terms(squares(gradients), inner(gradients, direction.flatten()[None])[:, 0])


def _convolution_patches(module: nn.Conv2d, given: Tensor) -> Tensor:
    sides = _padding(module)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padded = functional.pad(given, sides, mode=mode) if any(sides) else given
    if set(module.kernel_size) | set(module.stride) == {1}:
        return padded.reshape(len(padded), module.groups, -1, padded.shape[2] * padded.shape[3])
    # A strided view, copied once: three times as fast as functional.unfold.
    kernel, steps, apart = module.kernel_size, module.stride, module.dilation
    rows, columns = (
        (length - apart[axis] * (kernel[axis] - 1) - 1) // steps[axis] + 1
        for axis, length in enumerate(padded.shape[2:])
    )
    image, channel, down, right = padded.stride()
    view = padded.as_strided(
        (len(padded), padded.shape[1], *kernel, rows, columns),
        (image, channel, *(down * apart[0], right * apart[1], down * steps[0], right * steps[1])),
        padded.storage_offset(),
    )
    return view.reshape(len(padded), module.groups, -1, rows * columns)


def _padding(module: nn.Conv2d) -> list[int]:
    """Returns the columns added left and right, then the rows above and below, as torch does."""
    if module.padding_mode != "zeros":
        return list(module._reversed_padding_repeated_twice)
    match module.padding:
        case "valid":
            return [0, 0, 0, 0]
        case "same":
            pairs = zip(module.dilation, module.kernel_size, strict=True)
            down, across = (apart * (kernel - 1) for apart, kernel in pairs)
            return [across // 2, across - across // 2, down // 2, down - down // 2]
        case rows, columns:
            return [columns, columns, rows, rows]
    raise InputError(f"padding must be valid, same or two numbers, got {module.padding}")


def _convolution_outputs(module: nn.Conv2d, gradient: Tensor) -> Tensor:
    shape = (len(gradient), module.groups, -1, gradient.shape[2] * gradient.shape[3])
    return gradient.reshape(shape)


def _positions_last(module: nn.Linear, values: Tensor) -> Tensor:
    return values.reshape(len(values), -1, values.shape[-1]).mT[:, None]


def _affine(module: Any, calls: Sequence[Call], directions: dict[str, Tensor]) -> Iterator[Terms]:
    """Yields the terms of a normalisation's scale and shift, one of each a channel."""
    if "weight" in directions:
        scales = [_channels(call.gradient * _normalised(module, call.given)) for call in calls]
        yield _small(torch.stack(scales).sum(dim=0), directions["weight"])
    if "bias" in directions:
        shifts = torch.stack([_channels(call.gradient) for call in calls])
        yield _small(shifts.sum(dim=0), directions["bias"])


def _channels(values: Tensor) -> Tensor:
    return values.flatten(2).sum(dim=2)


def _normalised(module: Any, given: Tensor) -> Tensor:
    match module:
        case nn.GroupNorm():
            return functional.group_norm(given, module.num_groups, eps=module.eps)
        case _:
            mean, variance = module.running_mean, module.running_var
            return functional.batch_norm(given, mean, variance, eps=module.eps)


_LAYERS: dict[type, Callable[[Any, Sequence[Call], dict[str, Tensor]], Iterator[Terms]]] = {
    nn.Conv2d: _matrix_layer(_convolution_patches, _convolution_outputs),
    nn.Linear: _matrix_layer(_positions_last, _positions_last),
    nn.GroupNorm: _affine,
    nn.BatchNorm2d: _affine,
}
