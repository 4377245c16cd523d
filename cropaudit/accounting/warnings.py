"""Warnings that teach: what in a described pipeline makes its bound mean less than it seems to."""

from collections.abc import Sequence

from cropaudit.accounting.inclusion import Inclusion
from cropaudit.accounting.mechanisms import PatchMechanism
from cropaudit.accounting.pipelines import Pipeline
from cropaudit.accounting.registry import ORDERED

__all__ = ["pipeline_warnings"]

_STATED = 1.001e-3  # a larger gap between upper and lower bound is told


def pipeline_warnings(
    pipelines: Sequence[Pipeline],
    mechanisms: Sequence[PatchMechanism],
    worst: Sequence[Inclusion],
    gap: float,
    clip_norm: float | None,
) -> tuple[str, ...]:
    """Returns the warnings about a pipeline, or its phases, each once and in words.

    Args:
        pipelines: The phases as described.
        mechanisms: What they amount to.
        worst: Their worst places.
        gap: Relative error of epsilon that discretisation may cause.
        clip_norm: The clipping norm, if known.
    """
    found = [text for item in pipelines for text in _of_pipeline(item)]
    found += [f"the inclusion probability is an {place.how}" for place in worst if not place.exact]
    if len({place.position for place in worst}) > 1:
        found.append(
            "the phases are worst at different places of the patch; each takes its own, so epsilon "
            "is an upper bound that no single place attains"
        )
    if any(mechanism.crops > 1 for mechanism in mechanisms):
        found.append(
            "crops of one image that are clipped apart let it move the sum by up to 2KC; averaging "
            "their gradients before clipping keeps that at 2C"
        )
    if any(mechanism.noise_multiplier == 0 for mechanism in mechanisms):
        found.append(
            "without noise nothing is hidden once the patch is seen: epsilon is infinite, unless "
            "that has a probability of at most delta"
        )
    if gap > _STATED:
        found.append(f"epsilon may be up to {100 * gap:.2g}% too high: the grid is at its limit")
    if clip_norm is not None and clip_norm != 1:
        found.append(_unit(mechanisms[0].noise_multiplier, clip_norm))
    return tuple(dict.fromkeys(found))


def _of_pipeline(pipeline: Pipeline) -> list[str]:
    found = []
    if pipeline.augmentation is not None:
        found.append(
            "noise on the pixels hides the pixels of a patch and not its labels: the bound is for "
            "neighbours whose labels agree"
        )
    ragged = pipeline.records % pipeline.batch != 0 and not pipeline.drop_last
    if pipeline.sampler in ORDERED and pipeline.steps is not None and ragged:
        found.append(
            f"an epoch is taken to have {pipeline.steps_per_epoch()} steps, the last batch being "
            "short; if the loader drops it, say so (--drop-last): epsilon is then larger"
        )
    return found


def _unit(noise: float, clip_norm: float) -> str:
    return (
        f"the noise multiplier {noise:.6g} is in units of the clipping norm, a deviation of "
        f"{noise * clip_norm:.6g}; that deviation passed as noise_multiplier would give "
        f"{noise * clip_norm * clip_norm:.6g}"
    )
