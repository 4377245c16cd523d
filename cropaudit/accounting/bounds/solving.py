"""Solves for what a target epsilon allows: noise, steps, batch or crop size.

Each answer meets the target and its next neighbour does not: the next larger batch or crop, one
more step, or less noise by the last digit.
"""

from collections.abc import Callable
from dataclasses import replace

from cropaudit.accounting.bounds.accountant import bracket, calibrate_noise
from cropaudit.accounting.geometry.shapes import Crop, Size
from cropaudit.accounting.mechanisms.descriptions import PatchMechanism, ShufflePatch
from cropaudit.accounting.mechanisms.pipelines import Pipeline
from cropaudit.errors import InputError, require

__all__ = ["largest_batch", "largest_crop", "longest", "most_steps", "needed_noise"]

_MOST_STEPS = 100_000_000


def needed_noise(pipeline: Pipeline, delta: float, epsilon: float) -> float:
    """Returns the noise multiplier that brings a pipeline to a target epsilon, rounded up."""
    return calibrate_noise(pipeline.mechanism(1.0), delta, epsilon)


def most_steps(mechanism: PatchMechanism, delta: float, epsilon: float) -> int:
    """Returns the largest number of steps whose epsilon at ``delta`` is at most ``epsilon``.

    Raises:
        InputError: If one step exceeds it already, or 1e8 steps do not.
    """
    return _largest(mechanism.with_steps, delta, epsilon, None, "one step")


def longest(pipeline: Pipeline, noise: float, delta: float, epsilon: float) -> Pipeline:
    """Returns the pipeline with the most steps within a target epsilon; its own are ignored.

    Raises:
        InputError: If a single step exceeds the target.
    """
    one = pipeline.with_changes(steps=1, epochs=None)
    mechanism = one.mechanism(noise)
    if not mechanism.ordered:
        return one.with_changes(steps=most_steps(mechanism, delta, epsilon))
    # A step more costs nothing until the next epoch begins: count participations.
    taken = ShufflePatch(noise, 1.0, mechanism.inclusion, 1, crops=mechanism.crops)
    epochs = most_steps(taken, delta, epsilon)
    return one.with_changes(steps=epochs * pipeline.steps_per_epoch())


def largest_batch(pipeline: Pipeline, noise: float, delta: float, epsilon: float) -> Pipeline:
    """Returns the pipeline with the largest batch within a target epsilon; its own is ignored.

    At a fixed number of epochs a larger batch has fewer steps; epsilon then rises in small jumps,
    and the batch found meets the target while the next larger one does not.

    Raises:
        InputError: If a batch of one image exceeds the target.
    """

    def with_batch(batch: int) -> Pipeline:
        return pipeline.with_changes(batch=batch)

    def mechanism(batch: int) -> PatchMechanism:
        return with_batch(batch).mechanism(noise)

    return with_batch(_largest(mechanism, delta, epsilon, pipeline.records, "a batch of 1"))


def largest_crop(pipeline: Pipeline, noise: float, delta: float, epsilon: float) -> Pipeline:
    """Returns the pipeline with the largest square window within a target epsilon.

    Args:
        pipeline: What runs; the size of its window is ignored.
        noise: Noise multiplier.
        delta: Target delta.
        epsilon: Target epsilon.

    Raises:
        InputError: If a window of one pixel exceeds the target, or the crop is no window of a
            fixed size.
    """
    crop = pipeline.crop
    if not isinstance(crop, Crop):
        raise InputError("crop law must be uniform to solve for its size")
    single = replace(crop, size=Size(1, 1))
    sides = [single.origins(image) for image in pipeline.images]
    last = min(min(side.height, side.width) for side in sides)

    def with_side(side: int) -> Pipeline:
        return pipeline.with_changes(crop=replace(crop, size=Size(side, side)))

    def mechanism(side: int) -> PatchMechanism:
        return with_side(side).mechanism(noise)

    return with_side(_largest(mechanism, delta, epsilon, last, "a crop of 1x1"))


def _largest(
    mechanism: Callable[[int], PatchMechanism],
    delta: float,
    epsilon: float,
    last: int | None,
    least: str,
) -> int:
    """Returns a value that meets the target while the next does not, or the last.

    Where epsilon does not rise with the value, it is still a value that meets the target next to
    one that does not.

    Args:
        mechanism: The mechanism of a value, from 1 on.
        delta: Target delta.
        epsilon: Target epsilon.
        last: The last value; none where there is no end, and the range is doubled until it holds.
        least: The value 1, in words.
    """
    require(0 < epsilon < float("inf"), "target epsilon", "positive and finite", epsilon)

    def allowed(value: int) -> bool:
        return bracket(mechanism(value), delta, decide=epsilon).upper <= epsilon

    if not allowed(1):
        raise InputError(f"target epsilon must be at least that of {least}, got {epsilon}")
    low, high = 1, 2 if last is None else last
    while allowed(high):
        if high == last:
            return high
        low, high = high, 2 * high
        require(high <= _MOST_STEPS, "target epsilon", "attained within 1e8 steps", epsilon)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low
