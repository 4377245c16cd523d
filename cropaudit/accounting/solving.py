"""Solves for what a target epsilon allows: noise, steps, batch or crop size.

Each answer meets the target and its next neighbour does not: the next larger batch or crop, one
more step, or less noise by the last digit.
"""

from collections.abc import Callable
from dataclasses import replace

from cropaudit.accounting.accountant import bracket, calibrate_noise, most_steps
from cropaudit.accounting.geometry import Crop, Size
from cropaudit.accounting.mechanisms import ShufflePatch
from cropaudit.accounting.pipelines import Pipeline
from cropaudit.accounting.registry import ORDERED
from cropaudit.accounting.searching import last_allowed
from cropaudit.errors import InputError, require

__all__ = ["largest_batch", "largest_crop", "longest", "needed_noise"]


def needed_noise(pipeline: Pipeline, delta: float, epsilon: float) -> float:
    """Returns the noise multiplier that brings a pipeline to a target epsilon, rounded up."""
    return calibrate_noise(pipeline.mechanism(1.0), delta, epsilon)


def longest(pipeline: Pipeline, noise: float, delta: float, epsilon: float) -> Pipeline:
    """Returns the pipeline with the most steps within a target epsilon; its own are ignored.

    Raises:
        InputError: If a single step exceeds the target.
    """
    one = pipeline.with_changes(steps=1, epochs=None)
    mechanism = one.mechanism(noise)
    if pipeline.sampler not in ORDERED:
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

    def allowed(batch: int) -> bool:
        return bracket(with_batch(batch).mechanism(noise), delta, decide=epsilon).upper <= epsilon

    found = _largest(allowed, 1, pipeline.records)
    if found is None:
        raise InputError(f"target epsilon must be at least that of a batch of 1, got {epsilon}")
    return with_batch(found)


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

    def allowed(side: int) -> bool:
        return bracket(with_side(side).mechanism(noise), delta, decide=epsilon).upper <= epsilon

    found = _largest(allowed, 1, last)
    if found is None:
        raise InputError(f"target epsilon must be at least that of a crop of 1x1, got {epsilon}")
    return with_side(found)


def _largest(allowed: Callable[[int], bool], low: int, high: int) -> int | None:
    """Returns a value that is allowed while the next is not, or the last; none if the first is not.

    Where the answer does not rise with the value it is still an allowed one next to a forbidden.
    """
    require(low <= high, "range", f"at least {low}", high)
    if not allowed(low):
        return None
    if allowed(high):
        return high
    return last_allowed(allowed, low, high)
