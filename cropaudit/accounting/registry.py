"""Every mechanism by its name: built from a pipeline's numbers, read from text, kept from mixing.

One table, so that the command line, saved descriptions, score files and audits mean the same thing
by a name.
"""

import dataclasses
import re
from typing import Any, get_args

from cropaudit.accounting.mechanisms import (
    AddRemoveRecord,
    AddRemoveShortcut,
    CyclicPatch,
    FixedSizePatch,
    FullBatchPatch,
    Mechanism,
    PatchMechanism,
    PoissonPatch,
    ReplaceOneShortcut,
    ShufflePatch,
)
from cropaudit.accounting.names import SamplerName
from cropaudit.errors import InputError, require

__all__ = [
    "MECHANISMS",
    "ORDERED",
    "parse_mechanism",
    "patch_mechanism",
    "require_same",
    "sampler_names",
]


MECHANISMS: dict[str, type[Mechanism]] = {
    kind.kind: kind
    for kind in (
        PoissonPatch,
        FixedSizePatch,
        ShufflePatch,
        CyclicPatch,
        FullBatchPatch,
        AddRemoveRecord,
        AddRemoveShortcut,
        ReplaceOneShortcut,
    )
}
ORDERED: frozenset[str] = frozenset({ShufflePatch.kind, CyclicPatch.kind})
"""Samplers whose batches have a fixed order, so that participations count and not steps."""

_KEYS = {"noise": "noise_multiplier", "q": "sample_rate", "rho": "inclusion", "steps": "steps"}


def sampler_names() -> tuple[str, ...]:
    """Returns the samplers that a patch-level bound exists for."""
    return get_args(SamplerName)


def patch_mechanism(
    sampler: SamplerName,
    *,
    noise_multiplier: float,
    batch: int,
    records: int,
    inclusion: float,
    steps: int,
    epochs: int | None = None,
    crops: int = 1,
    drop_last: bool = False,
) -> PatchMechanism:
    """Returns the patch-level mechanism of a sampler.

    Args:
        sampler: How batches are drawn.
        noise_multiplier: In units of the clipping norm.
        batch: Batch size; its expectation under Poisson sampling.
        records: Images in the data set.
        inclusion: Worst-case inclusion probability of one crop.
        steps: Optimiser steps.
        epochs: Epochs begun; only batches of a fixed order use it.
        crops: Crops of one image in one step, each clipped on its own.
        drop_last: Whether the loader drops its last short batch. Opacus then samples at one over
            the number of whole batches, which is more than batch over records.

    Raises:
        InputError: If a value is out of range.
    """
    require(records >= 1, "records", "at least 1", records)
    require(1 <= batch <= records, "batch", f"between 1 and the {records} records", batch)
    rate, extra = batch / records, dict[str, Any](crops=crops)
    if sampler == "poisson" and drop_last:
        rate = 1 / (records // batch)
    if sampler == "full":
        require(batch == records, "batch", f"all {records} records for full batches", batch)
    if sampler in ORDERED:
        extra["epochs"] = epochs
    found: PatchMechanism = MECHANISMS[sampler](noise_multiplier, rate, inclusion, steps, **extra)  # type: ignore[assignment]
    return found


def parse_mechanism(text: str) -> PatchMechanism:
    """Reads ``poisson:noise=1,q=0.1,rho=0.3,steps=100``; epochs and crops may be added.

    Raises:
        InputError: If the sampler or a key is unknown, a key is missing or a value is illegal.

    >>> parse_mechanism("fixed:noise=1,q=0.1,rho=0.3,steps=100").record_rate
    0.03
    """
    kind, _, rest = text.partition(":")
    legal = (
        "SAMPLER:noise=S,q=Q,rho=R,steps=T with SAMPLER one of "
        f"{', '.join(sampler_names())}; epochs=E for shuffle and cyclic, crops=K"
    )
    pairs = dict(re.findall(r"([a-z]+)=([^,=]+)(?:,|$)", rest))
    rebuilt = ",".join(f"{key}={value}" for key, value in pairs.items())
    known = {*_KEYS, "crops", *(["epochs"] if kind in ORDERED else [])}
    wrong = kind not in sampler_names() or not set(_KEYS) <= set(pairs) <= known
    if wrong or rebuilt != rest:
        raise InputError(f"mechanism must be {legal}, got {text}")
    try:
        whole = {key: int(pairs[key]) for key in ("steps", "crops", "epochs") if key in pairs}
        values = {key: float(pairs[key]) for key in ("noise", "q", "rho")}
    except ValueError:
        raise InputError(f"mechanism must be {legal}, got {text}") from None
    named = {_KEYS.get(key, key): value for key, value in {**values, **whole}.items()}
    found: PatchMechanism = MECHANISMS[kind](**named)  # type: ignore[assignment, arg-type]
    return found


def require_same(one: Mechanism, other: Mechanism, names: tuple[str, str]) -> None:
    """Refuses to set a measurement of one mechanism beside a claim about another one.

    Noise may differ, for that is what an audit doubts; sampler, rates, steps and crops may not.

    Args:
        one: A mechanism.
        other: Another.
        names: What each is, for the message.

    Raises:
        InputError: If they differ in anything but the noise multiplier.

    >>> require_same(PoissonPatch(1.0, 0.1, 0.3, 10), FixedSizePatch(1.0, 0.1, 0.3, 10),
    ...              ("claim", "probe"))
    Traceback (most recent call last):
    cropaudit.errors.InputError: claim and probe must be of one sampler, got poisson and fixed
    """
    between = f"{names[0]} and {names[1]}"
    require(one.kind == other.kind, between, "of one sampler", f"{one.kind} and {other.kind}")
    for item in dataclasses.fields(one):
        first, second = getattr(one, item.name), getattr(other, item.name)
        if item.name != "noise_multiplier" and first != second:
            raise InputError(
                f"{between} must be of one mechanism, got {item.name} {first} and {second}"
            )
