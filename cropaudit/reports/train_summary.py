"""A training run for a terminal or a log file."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cropaudit.audit.train_result import TrainRecord
from cropaudit.reports import words
from cropaudit.reports.numbers import format_duration, format_upper, format_value

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_training", "training_lines"]


def print_training(record: TrainRecord, out: Path, console: "Console") -> None:
    """Prints what was trained, and how to attack it.

    Args:
        record: The run.
        out: Its folder.
        console: Where to.
    """
    from rich.text import Text

    for name, rest in (*training_lines(record), *_files(out)):
        text = Text(f"{name}: ", style="bold")
        text.append(rest, style="")
        console.print(text, highlight=False, soft_wrap=True)


def training_lines(record: TrainRecord) -> Iterator[tuple[str, str]]:
    """Yields names and words."""
    claim, utility = record.claim, record.utility
    accounted = words.beside_crops(claim.epsilon_amplified, claim.epsilon_without_crop)
    alone = words.alone(
        claim.records - claim.canary_records, claim.epsilon_without_canaries, claim.canary_records
    )
    yield (
        "Claim",
        f"epsilon <= {format_upper(claim.epsilon)} at delta {format_value(claim.delta)}, "
        f"{claim.adjacency}; {accounted}",
    )
    if alone is not None:
        yield "Without canaries", alone
    start = "random weights" if record.start is None else f"weights of {record.start.file}"
    yield "Model", f"{record.model}, {record.parameters:,} trained parameters from {start}"
    if record.start is not None and record.start.missing:
        missing = len(record.start.missing)
        yield "", f"{record.start.loaded} tensors from the file, {missing} kept their random start"
    yield (
        "Run",
        f"{claim.steps} steps of {claim.batch} out of {claim.records} records "
        f"({words.records(claim.records, claim.canary_records, claim.canaries)}; {claim.sampler}), "
        f"noise multiplier {format_value(claim.noise_multiplier)}, clip "
        f"{format_value(claim.max_grad_norm)}",
    )
    yield "Gradients", f"{record.grad_sample.mode}: {record.grad_sample.reason}"
    yield "Speed", _speed(record)
    if record.loss_first is not None and record.loss_last is not None:
        yield "Loss", f"{record.loss_first:.3f} in the first batch, {record.loss_last:.3f} last"
    twins = (
        ("without noise", utility.miou_without_noise),
        ("without credit for the crop", utility.miou_without_crop_credit),
    )
    beside = "".join(f", {name} {value:.3f}" for name, value in twins if value is not None)
    yield (
        "Utility",
        f"mIoU {utility.miou:.3f}{beside}, {utility.miou_constant:.3f} of the commonest class "
        f"everywhere ({utility.images} held-out images)",
    )
    nothing = words.learning(utility)
    if nothing is not None:
        yield "Warning", nothing
    shown = ((k, v) for k, v in utility.per_class.items() if v is not None)
    yield "By class", ", ".join(f"{name} {value:.2f}" for name, value in shown)


def _speed(record: TrainRecord) -> str:
    threads = f"{record.threads} thread{'s' if record.threads > 1 else ''}"
    where = f"{record.device}, {threads}" if record.device == "cpu" else record.device
    many = f", {record.processes} processes" if record.processes > 1 else ""
    total = format_duration(record.seconds)
    return f"{record.seconds_per_step:.3g} s a step on {where}{many}; {total} in all"


def _files(out: Path) -> Iterator[tuple[str, str]]:
    yield "Secret", f"{out}/tape.npz, canaries.npz and config.yaml undo the privacy of the model"
    yield "Folder", str(out)
    yield "Next", f"cropaudit attack {out} --attack white-box --attack loss"
