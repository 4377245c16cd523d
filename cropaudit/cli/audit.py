"""The options of `cropaudit audit`, those that it shares with `train` among them.

Nothing heavy is imported here: ``--help`` must not wait for it.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["AsJson", "Changes", "Data", "DryRun", "Force", "Measure", "Seed", "audit"]

Data = Annotated[Path | None, typer.Option(help="Folder of photographs with masks.")]
Seed = Annotated[int | None, typer.Option(help="Of all randomness.")]
Changes = Annotated[list[str] | None, typer.Option("--set", help="key=value, any number of times.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print claim, plan and cost; needs no data.")
]
Measure = Annotated[
    bool, typer.Option("--measure/--no-measure", help="Time the model in a dry run.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace an earlier run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON only.")]


def audit(
    config: Annotated[
        str, typer.Argument(help="A preset (quickstart, camvid-pspnet, ...) or a YAML file.")
    ],
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME unless given.")] = None,
    seed: Seed = None,
    changes: Changes = None,
    claim: Annotated[
        str | None, typer.Option(help="Claim a short cut, as shortcut:add-remove.")
    ] = None,
    claim_epsilon: Annotated[float | None, typer.Option(help="Claimed epsilon.")] = None,
    claim_family: Annotated[
        Literal["mechanism", "none"] | None,
        typer.Option(help="Whether the claim is the mechanism's curve or a bare epsilon."),
    ] = None,
    dry_run: DryRun = False,
    measure: Measure = True,
    force: Force = False,
    strict: Annotated[bool, typer.Option(help="Exit 3 if inconclusive.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train, attack and report: the claim beside what was measured, and a verdict."""
    given = dict(locals())
    from cropaudit.cli.assignments import configured

    configuration = configured(given)  # torch waits until this is sound
    if dry_run:
        from cropaudit.cli.work.dry_run import run_dry_run

        run_dry_run(configuration, attacks=True, measure=measure, as_json=as_json)
        return
    from cropaudit.cli.work.audit import run_audit_command

    raise typer.Exit(run_audit_command(configuration, given))
