"""The answer of `cropaudit bound` for a terminal.

Upper bounds are rounded up and lower ones down, to the digits that the discretisation supports.
"""

import math
from typing import TYPE_CHECKING

from cropaudit.accounting.bounds.accountant import round_up
from cropaudit.accounting.bounds.answers import BoundResult, ObjectsAnswer
from cropaudit.accounting.bounds.bound import PatchBound
from cropaudit.accounting.bounds.sweeps import Sweep
from cropaudit.reports.text.tables import Table, print_table, print_text

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_bound", "print_objects", "print_sweep"]


def print_bound(found: BoundResult, console: "Console") -> None:
    """Prints the bound, the risk, the short cuts and the warnings."""
    bound = found.bound
    if found.solved:
        print_text(f"solved for: {found.solved}", console)
    print_table(Table((), list(_rows(bound)), fold=(1,)), console)
    if bound.shortcuts:
        print_text("Short cuts that are no bounds:", console)
    for item in bound.shortcuts:
        print_text(f"  {item.name}: {item.epsilon:.6g} ({item.why_invalid})", console)
    for text in bound.warnings:
        print_text(f"warning: {text}", console, "yellow")


def print_sweep(sweep: Sweep, console: "Console") -> None:
    """Prints epsilon by the value of the setting that varies."""
    names = tuple(line.name or "epsilon" for line in sweep.series)
    columns = (sweep.parameter, *names, *(f"{name}, without crops" for name in names))
    lines = [line.epsilon for line in sweep.series]
    lines += [line.epsilon_without_crop for line in sweep.series]
    rows = [
        (f"{value:g}", *(_up(line[at]) for line in lines)) for at, value in enumerate(sweep.values)
    ]
    print_table(Table(columns, rows, fold=columns), console)
    print_text(f"epsilon at delta {sweep.delta:g}", console)


def print_objects(objects: ObjectsAnswer, console: "Console") -> None:
    """Prints which objects the claimed patch covers, and what would cover more."""
    found, left = objects.coverage, objects.uncovered
    words = f"the claimed patch covers all {found.objects} objects"
    if left > 0:
        words = (
            f"warning: the claimed patch does not cover {_share(left)} of the {found.objects} "
            "objects; for those the bound says nothing"
        )
    print_text(words, console, "yellow" if left > 0 else "")
    names = [(item.name, str(item.objects), _share(item.share)) for item in found.names]
    print_table(Table(("objects", "number", "covered"), names), console)
    squares = [
        (_share(share), f"{side}x{side}", "does not fit every image" if at is None else _up(at))
        for share, side, at in objects.squares
    ]
    print_table(Table(("to cover", "square patch", "epsilon"), squares), console)


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


def _up(value: float, digits: int = 4) -> str:
    return f"{round_up(value, digits):.6g}" if math.isfinite(value) else "none found"


def _share(value: float) -> str:
    return f"{100 * value:.3g}%"
