"""A dry run for a terminal, and as JSON values: the claim, the plan and the cost."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cropaudit.audit.dry_run import DryRun, PlannedGame
from cropaudit.reports import words
from cropaudit.reports.numbers import (
    format_confidence,
    format_duration,
    format_lower,
    format_upper,
    format_value,
)

__all__ = ["dry_run_document", "print_dry_run"]

_GIB, _MIB = 2**30, 2**20


def dry_run_document(found: DryRun) -> dict[str, Any]:
    """Returns a dry run as JSON values."""
    declared, cost = found.declared, found.cost
    measured = None if cost.step is None else {**asdict(cost.step)}
    return {
        "config": json.loads(declared.config.model_dump_json()),
        "declared": {
            "exact": declared.exact,
            "image": str(declared.image),
            "records": declared.records,
            "canary_records": declared.canary_records,
            "canaries": declared.canaries,
            "classes": declared.classes,
        },
        "claim": {
            "statement": declared.claim.statement,
            "kind": declared.claim.kind,
            "epsilon": declared.claim.epsilon,
            "delta": declared.claim.delta,
            "epsilon_without_canaries": declared.epsilon_without_canaries,
        },
        "bound": _finite(asdict(found.bound)),
        "plan": {
            "physical_batch": cost.physical_batch,
            "parts": found.parts,
            "games": [asdict(game) for game in found.games],
        },
        "cost": {
            "work": [asdict(item) for item in cost.work],
            "seconds": cost.seconds,
            "tape_bytes": cost.tape_bytes,
            "measured": measured,
        },
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the same with none for infinite numbers, which JSON cannot hold."""
    infinite = (name for name, x in values.items() if isinstance(x, float) and math.isinf(x))
    return {**values, **dict.fromkeys(infinite)}


def print_dry_run(found: DryRun, console: Console) -> None:
    """Prints the claim, the plan and the cost."""
    config = found.declared.config
    _print(console, f"Dry run of {config.name}: nothing is read, trained or written", "bold")
    for title, rows in (
        ("Claim", _claim(found)),
        ("Plan", _plan(found)),
        ("Cost", _cost(found)),
    ):
        _print(console, f"\n{title}", "bold")
        table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, rest in rows:
            table.add_row(Text(name), Text(rest))
        console.print(table)


def _claim(found: DryRun) -> Iterator[tuple[str, str]]:
    declared, bound = found.declared, found.bound
    claim = declared.claim
    yield "claimed", claim.statement
    how = "of procedural scenes" if declared.exact else "DECLARED; the data decide when they come"
    each = words.records(declared.records, declared.canary_records, declared.canaries)
    yield "records", f"{declared.records} of {declared.image}: {each} ({how})"
    images = declared.records - declared.canary_records
    alone = words.alone(images, declared.epsilon_without_canaries, declared.canary_records)
    if alone is not None:
        yield "", alone
    yield "adjacency", bound.adjacency
    share = f"{bound.inclusion_probability:.5g}"
    yield "crop", f"{declared.config.crop_law().size} meets patch {bound.patch} with rho = {share}"
    ends = (bound.epsilon, bound.epsilon_without_crop)
    accounted = words.beside_crops(*(x if math.isfinite(x) else None for x in ends))
    yield "epsilon", f"{accounted}, at delta {bound.delta:g}"
    if bound.epsilon_add_remove is not None:
        other = "another adjacency: one whole image more or less, as Opacus reports"
        yield "", f"{format_upper(bound.epsilon_add_remove)} under {other}"
    for item in bound.shortcuts:
        epsilon = f"{format_upper(item.epsilon)} by the wrong short cut {item.name}"
        yield "", f"{epsilon} ({item.why_invalid})"
    for text in bound.warnings:
        yield "warning", text


def _plan(found: DryRun) -> Iterator[tuple[str, str]]:
    training, cost = found.declared.config.training, found.cost
    yield "model", f"{training.model}, {training.norm} norm, {training.precision}"
    rate = f"q = {found.bound.sample_rate:.4g}"
    batch = f"batches of {training.batch}"
    yield "sampler", f"{training.sampler}, {batch} ({rate}), {found.bound.steps} steps"
    parts = f"{found.parts} part{'s' if found.parts > 1 else ''}"
    yield "in parts", f"{parts} of {cost.physical_batch} crops through the model in each step"
    if training.twins:
        yield "beside it", f"twins: {', '.join(training.twins)}"
    if not found.games:
        yield "attacks", "none yet: cropaudit attack RUN plays them on the trained run"
    for game in found.games:
        yield game.attack, _game(game)


def _game(game: PlannedGame) -> str:
    shown = f"{game.trials:,} trials at {format_confidence(1 - game.level)} confidence"
    if game.cap is not None:
        return f"{shown}; could show at most {format_lower(game.cap)} if nothing is assumed"
    if game.detectable is None:
        return f"{shown}; hardly any broken noise would contradict the claim"
    finds = format_upper(game.detectable)
    found = f"if the true epsilon is {finds} or more and only the noise is less"
    return f"{shown}; contradicts the claim with 90% power, at best, {found}"


def _cost(found: DryRun) -> Iterator[tuple[str, str]]:
    cost, step = found.cost, found.cost.step
    for item in cost.work:
        took = "" if item.seconds is None else f", about {format_duration(item.seconds)}"
        yield item.what, f"{item.crops:,.0f} gradients of a crop{took}"
    yield "tape", f"at most {_bytes(cost.tape_bytes)}"
    if step is None:
        yield "time", "not measured (--no-measure)"
        return
    if cost.seconds is not None:
        total = format_duration(cost.seconds)
        yield "together", f"about {total} on this machine, beside reading, checks and probe"
    scaled = f", timed on {step.crop} and scaled by pixels" if step.scaled else ""
    where = f"{step.device}, {step.threads} thread{'s' if step.threads > 1 else ''}"
    each = f"{step.fixed_seconds:.2g} s a step and {step.crop_seconds:.2g} s a crop"
    yield "measured", f"{each} ({step.mode}, {where}{scaled})"
    yield "weights", f"{step.parameters:,} trained parameters, {_bytes(step.weights_bytes)}"
    yield "memory", _memory(found)


def _memory(found: DryRun) -> str:
    step, crops = found.cost.step, found.cost.physical_batch
    assert step is not None
    rows = step.gradient_bytes(crops)
    shown = f"per-sample gradients of {crops} crops {_bytes(rows)}"
    if step.crop_bytes is None:
        return f"{shown}, beside activations"
    # One crop's peak holds one gradient; activations grow with the crops as gradients do.
    return f"{shown}; with activations at most about {_bytes(crops * step.crop_bytes)}"


def _bytes(count: int) -> str:
    size, unit = (count / _GIB, "GiB") if count >= _GIB else (count / _MIB, "MiB")
    return f"{format_value(size, 2 if size < 100 else 3)} {unit}"


def _print(console: Console, text: str, style: str) -> None:
    console.print(Text(text, style=style))
