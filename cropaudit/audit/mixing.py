"""Refuses an audit whose parts speak of different mechanisms.

A measurement under one sampler says nothing about a claim for another, and a score made for one
pair of worlds is no likelihood ratio for another. Only the noise may differ: it is what is doubted.
"""

from collections.abc import Sequence

from cropaudit.accounting.mechanisms import Mechanism, PatchMechanism
from cropaudit.accounting.pairs import StepPair
from cropaudit.accounting.registry import require_same
from cropaudit.errors import InputError, require
from cropaudit.training.samplers import Sampling, sampler_name

__all__ = ["refuse_mixture"]


def refuse_mixture(
    accounted: PatchMechanism,
    sampling: Sampling,
    pairs: Sequence[StepPair],
    claimed: Mechanism | None,
) -> None:
    """Checks that accountant, training, scores and claim are of one mechanism.

    Args:
        accounted: What the accountant bounds.
        sampling: How training draws its batches.
        pairs: The pairs whose likelihood ratios score the probe.
        claimed: What is claimed to run, or none for a short cut or a bare epsilon.

    Raises:
        InputError: If two of them differ in more than the noise multiplier.
    """
    trained = sampler_name(sampling)
    kinds = f"{accounted.kind} and {trained}"
    require(accounted.kind == trained, "accountant and training", "of one sampler", kinds)
    if claimed is not None:
        require_same(claimed, accounted, ("claim", "training"))
    own = accounted.pair()
    for pair in pairs:
        if (pair.p, pair.q) != (own.p, own.q):
            raise InputError(
                "scores and accountant must be of one pair of worlds, got weights "
                f"{(pair.p, pair.q)} and {(own.p, own.q)}"
            )
