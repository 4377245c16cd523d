"""The answer of `cropaudit bound` for a terminal, and as a mapping for JSON.

Upper bounds are rounded up and lower ones down, to the digits that the discretisation supports.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from cropaudit.accounting.accountant import round_up
from cropaudit.accounting.bound import PatchBound
from cropaudit.accounting.describe import to_json
from cropaudit.bounds.answers import Answer, ObjectsAnswer
from cropaudit.bounds.sweeps import Sweep
from cropaudit.errors import InputError

__all__ = ["bound_document", "print_bound", "print_objects", "print_sweep"]


def bound_document(
    found: Answer, sweeps: Sequence[Sweep], objects: ObjectsAnswer | None
) -> dict[str, Any]:
    """Returns the answer as JSON values; an epsilon that is infinite becomes null."""
    document = asdict(found.bound)
    document["solved"] = found.solved or None
    document["mechanisms"] = json.loads(to_json(found.mechanisms))
    document["dp_events"] = [_event(mechanism) for mechanism in found.mechanisms]
    document["sweeps"] = [asdict(sweep) for sweep in sweeps]
    document["objects"] = asdict(objects) if objects is not None else None
    finite: dict[str, Any] = _finite(document)
    return finite


def print_bound(found: Answer, console: Console) -> None:
    """Prints the bound, the risk, the short cuts and the warnings."""
    bound = found.bound
    if found.solved:
        console.print(f"solved for: {found.solved}", highlight=False)
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _rows(bound):
        table.add_row(name, value)
    console.print(table)
    if bound.shortcuts:
        console.print("Short cuts that are no bounds:")
    for item in bound.shortcuts:
        console.print(f"  {item.name}: {item.epsilon:.6g} ({item.why_invalid})")
    for text in bound.warnings:
        console.print(f"warning: {text}", style="yellow", highlight=False)


def print_sweep(sweep: Sweep, console: Console) -> None:
    """Prints epsilon by the value of the setting that varies."""
    names = [line.name or "epsilon" for line in sweep.series]
    table = Table(sweep.parameter, *names, *[f"{name}, without crops" for name in names])
    for at, value in enumerate(sweep.values):
        with_crop = [_up(line.epsilon[at]) for line in sweep.series]
        without = [_up(line.epsilon_without_crop[at]) for line in sweep.series]
        table.add_row(f"{value:g}", *with_crop, *without)
    console.print(table)
    console.print(f"epsilon at delta {sweep.delta:g}", highlight=False)


def print_objects(objects: ObjectsAnswer, console: Console) -> None:
    """Prints which objects the claimed patch covers, and what would cover more."""
    found = objects.coverage
    console.print(
        f"warning: the claimed patch does not cover {_share(objects.uncovered)} of the "
        f"{found.objects} objects; for those the bound says nothing"
        if objects.uncovered > 0
        else f"the claimed patch covers all {found.objects} objects",
        style="yellow" if objects.uncovered > 0 else None,
        highlight=False,
    )
    names = Table("objects", "number", "covered")
    for item in found.names:
        names.add_row(item.name, str(item.objects), _share(item.share))
    console.print(names)
    table = Table("to cover", "square patch", "epsilon")
    for share, side, epsilon in objects.squares:
        shown = "does not fit every image" if epsilon is None else _up(epsilon)
        table.add_row(_share(share), f"{side}x{side}", shown)
    console.print(table)


def _rows(bound: PatchBound) -> list[tuple[str, str]]:
    whole = "" if bound.compositions == bound.steps else f", {bound.compositions} with one image"
    rows = [
        ("adjacency", bound.adjacency),
        ("sampler", bound.sampler),
        ("image", bound.image),
        ("patch", bound.patch),
        ("inclusion probability", f"{bound.inclusion_probability:.6g} ({bound.inclusion_how})"),
        ("worst position", f"row {bound.worst_position[0]}, column {bound.worst_position[1]}"),
        ("record rate", f"{bound.record_rate:.6g}"),
        ("steps", f"{bound.steps}{whole}"),
        ("noise multiplier", f"{bound.noise_multiplier:.6g}"),
        ("epsilon", f"{bound.epsilon:.6g} at delta {bound.delta:g}"),
        ("at least", f"{bound.epsilon_lower:.6g}, by an optimistic grid"),
        ("epsilon without crop", f"{bound.epsilon_without_crop:.6g}"),
    ]
    if bound.epsilon_add_remove is not None:
        words = f"{bound.epsilon_add_remove:.6g}, another adjacency: one whole image more or less"
        rows.append(("add/remove, no crop", words))
    rows += [
        (f"group of {item.size} images", f"epsilon {_up(item.epsilon)}") for item in bound.groups
    ]
    risk = bound.risk
    rates = [f"{_up(t, 3)} at FPR {f:g}" for t, f in zip(risk.tpr, risk.fpr, strict=True)]
    rows.append(("any attack's advantage", f"at most {_up(risk.advantage, 3)}"))
    rows.append(("any attack's TPR", f"at most {', '.join(rates)}"))
    return rows


def _event(mechanism: Any) -> str | None:
    from cropaudit.accounting.events import to_event  # dp_accounting is slow to load

    try:
        event, relation = to_event(mechanism)
    except InputError:
        return None
    return f"{event} under {relation.name}"


def _up(value: float, digits: int = 4) -> str:
    return f"{round_up(value, digits):.6g}" if math.isfinite(value) else "none found"


def _share(value: float) -> str:
    return f"{100 * value:.3g}%"


def _finite(value: Any) -> Any:
    match value:
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value
