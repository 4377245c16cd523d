"""Mechanisms by name: built from a pipeline's numbers, read from text and JSON, kept from mixing.

Samplers are those of `cropaudit.accounting.names.SAMPLERS`; beside them stand the short cuts and
the accountant of whole images, so that the command line, saved descriptions, score files and audits
mean the same thing by a name. JSON holds the description and nothing composed.
"""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cropaudit.accounting.mechanisms.descriptions import (
    MOST_PHASES,
    AddRemoveRecord,
    AddRemoveShortcut,
    Mechanism,
    PatchMechanism,
    ReplaceOneShortcut,
)
from cropaudit.accounting.names import SAMPLERS, described
from cropaudit.errors import InputError, require, shown

__all__ = [
    "from_json",
    "mechanisms",
    "parse_mechanism",
    "read_mechanisms",
    "require_same",
    "sampler",
    "to_json",
]

_KEYS = {"noise": "noise_multiplier", "q": "sample_rate", "rho": "inclusion", "steps": "steps"}
_FORMAT = "cropaudit-mechanisms-1"
_MOST_BYTES = 1 << 20  # as many phases as are composed take a tenth of it
_LARGEST = 1e300  # a whole number beyond is no number of the computations


def sampler(name: str) -> type[PatchMechanism]:
    """Returns the mechanism of a sampler.

    Raises:
        InputError: If there is no such sampler.
    """
    require(name in SAMPLERS, "sampler", f"one of {', '.join(SAMPLERS)}", name)
    found: type[PatchMechanism] = described(SAMPLERS[name])
    return found


def mechanisms() -> dict[str, type[Mechanism]]:
    """Returns every mechanism by its name."""
    others = (AddRemoveRecord, AddRemoveShortcut, ReplaceOneShortcut)
    return {**{name: sampler(name) for name in SAMPLERS}, **{item.kind: item for item in others}}


def parse_mechanism(text: str) -> PatchMechanism:
    """Reads ``poisson:noise=1,q=0.1,rho=0.3,steps=100``; epochs and crops may be added.

    Raises:
        InputError: If the sampler or a key is unknown, a key is missing or a value is illegal.

    >>> parse_mechanism("fixed:noise=1,q=0.1,rho=0.3,steps=100").record_rate
    0.03
    """
    name, _, rest = text.partition(":")
    ordered = " and ".join(key for key in SAMPLERS if sampler(key).ordered)
    legal = (
        "SAMPLER:noise=S,q=Q,rho=R,steps=T with SAMPLER one of "
        f"{', '.join(SAMPLERS)}; epochs=E for {ordered}, crops=K"
    )
    if name not in SAMPLERS:
        raise InputError(f"mechanism must be {legal}, got {text}")
    kind = sampler(name)
    pairs = dict(re.findall(r"([a-z]+)=([^,=]+)(?:,|$)", rest))
    rebuilt = ",".join(f"{key}={value}" for key, value in pairs.items())
    known = {*_KEYS, "crops", *(["epochs"] if kind.ordered else [])}
    if not set(_KEYS) <= set(pairs) <= known or rebuilt != rest:
        raise InputError(f"mechanism must be {legal}, got {text}")
    try:
        whole = {key: int(pairs[key]) for key in ("steps", "crops", "epochs") if key in pairs}
        values = {key: float(pairs[key]) for key in ("noise", "q", "rho")}
    except ValueError:
        raise InputError(f"mechanism must be {legal}, got {text}") from None
    return kind(**{_KEYS.get(key, key): value for key, value in {**values, **whole}.items()})  # type: ignore[arg-type]


def require_same(one: Mechanism, other: Mechanism, names: tuple[str, str]) -> None:
    """Refuses to set a measurement of one mechanism beside a claim about another one.

    Noise may differ, for that is what an audit doubts; sampler, rates, steps and crops may not.

    Args:
        one: A mechanism.
        other: Another.
        names: What each is, for the message.

    Raises:
        InputError: If they differ in anything but the noise multiplier.
    """
    between = f"{names[0]} and {names[1]}"
    require(one.kind == other.kind, between, "of one sampler", f"{one.kind} and {other.kind}")
    for item in dataclasses.fields(one):
        first, second = getattr(one, item.name), getattr(other, item.name)
        if item.name != "noise_multiplier" and first != second:
            raise InputError(
                f"{between} must be of one mechanism, got {item.name} {first} and {second}"
            )


def to_json(phases: Sequence[Mechanism]) -> str:
    """Returns phases that run one after the other as JSON."""
    listed = [
        {"kind": item.kind, "adjacency": item.adjacency, **dataclasses.asdict(item)}
        for item in phases
    ]
    return json.dumps({"format": _FORMAT, "phases": listed}, indent=2)


def from_json(text: str) -> tuple[Mechanism, ...]:
    """Returns the phases that `to_json` wrote, equal ones.

    Raises:
        InputError: If the text is not that, or a value is out of range.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"mechanism file must be JSON, got {error}") from None
    legal = isinstance(found, dict) and found.get("format") == _FORMAT
    require(legal, "mechanism file", f"of format {_FORMAT}", found)
    phases = found.get("phases")
    if not isinstance(phases, list) or not phases:
        raise InputError(f"mechanism file must hold a list of phases, got {shown(phases)}")
    require(len(phases) <= MOST_PHASES, "phases", f"at most {MOST_PHASES}", len(phases))
    return tuple(_phase(item) for item in phases)


def read_mechanisms(path: Path) -> tuple[Mechanism, ...]:
    """Reads a file that `to_json` wrote.

    Raises:
        InputError: If it cannot be read or is not that.
    """
    try:
        size = path.stat().st_size
        require(size <= _MOST_BYTES, "mechanism file", f"of at most {_MOST_BYTES} bytes", size)
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"mechanism file {path} must be readable text, got {error}") from None
    return from_json(text)


def _phase(item: Any) -> Mechanism:
    known = mechanisms()
    named: Any = item.get("kind") if isinstance(item, dict) else item
    legal = isinstance(item, dict) and isinstance(named, str) and named in known
    require(legal, "mechanism kind", f"one of {', '.join(known)}", named)
    values = {key: value for key, value in item.items() if key not in ("kind", "adjacency")}
    fields = [field.name for field in dataclasses.fields(known[named])]
    unknown = sorted(set(values) - set(fields))
    require(not unknown, "mechanism keys", f"among {', '.join(fields)}", ", ".join(unknown))
    for key, value in values.items():
        _require_type(key, value)
    try:
        return known[named](**values)
    except TypeError as error:
        raise InputError(f"mechanism {item['kind']} must have its keys, got {error}") from None


def _require_type(key: str, value: Any) -> None:
    whole = key in ("steps", "crops", "epochs")
    fits = isinstance(value, int) if whole else isinstance(value, int | float)
    fits = fits and not isinstance(value, bool) and abs(value) <= _LARGEST
    fits = fits or (key == "epochs" and value is None)
    require(fits, key, "a whole number" if whole else "a number", value)
