"""The options of `cropaudit attack`; what is done with them waits in `attack_command`.

Nothing heavy is imported here: ``--help`` must not wait for it.
"""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["attack"]


def attack(
    run: Annotated[
        Path | None, typer.Argument(help="Folder of cropaudit train, or of an audit.")
    ] = None,
    attacks: Annotated[
        list[str] | None,
        typer.Option("--attack", help="Its name, any number of times; list shows all."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the photographs, if it was moved.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="CSV or folder for the scores; RUN/attacks.csv else.")
    ] = None,
    windows: Annotated[
        int | None, typer.Option(help="Crops shown of each canary; as configured unless given.")
    ] = None,
    references: Annotated[
        int | None, typer.Option(help="Reference models; as configured unless given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the attacks' own draws.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace earlier scores.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Attack a trained run: who can tell which content each canary had, and what epsilon follows.

    Exit code 1 if the scores contradict the run's claim, else 0.
    """
    given = dict(locals())
    from cropaudit.attack_command import list_attacks, run_attacks

    if attacks == ["list"]:
        list_attacks(as_json=as_json)
        return
    contradicted = run_attacks(given)
    raise typer.Exit(1 if contradicted else 0)
