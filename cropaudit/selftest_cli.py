"""`cropaudit selftest`: whether the estimators keep their promise on this machine."""

import json
from typing import Annotated

import typer

__all__ = ["selftest"]

_FAST, _FULL = (400, 40), (1000, 200)  # trials a game, games


def selftest(
    fast: Annotated[bool, typer.Option("--fast", help="Fewer and smaller games.")] = False,
    games: Annotated[int | None, typer.Option(help="Games for each truth.")] = None,
    trials: Annotated[int | None, typer.Option(help="Scores a game.")] = None,
    seed: Annotated[int, typer.Option(help="Of all randomness.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Play games of known epsilon: how often does a bound exceed the truth?

    Leaves with 1 if an estimator does so beyond its level, which a sound one does in one run out
    of about fifty (each row with a chance below 0.001).
    """
    from cropaudit.audit.selftest import coverages
    from cropaudit.reports.progress import progress_stages
    from cropaudit.reports.selftest_summary import print_selftest, selftest_document

    size, many = _FAST if fast else _FULL
    with progress_stages() as stage:
        found = coverages(trials or size, games or many, seed, stage)
    if as_json:
        typer.echo(json.dumps(selftest_document(found), indent=2, allow_nan=False))
    else:
        print_selftest(found)
    raise typer.Exit(0 if all(item.holds for item in found) else 1)
