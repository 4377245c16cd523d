"""The options of `cropaudit train`; what is done with them waits in `cli.work`.

Nothing heavy is imported here: ``--help`` must not wait for it.
"""

from pathlib import Path
from typing import Annotated

import typer

from cropaudit.cli.audit import AsJson, Changes, Data, DryRun, Force, Measure, Seed

__all__ = ["train"]

_LOAD = "cropaudit.training.transcript.checkpoints.load_model"
_INTERRUPTED = 4


def train(
    config: Annotated[str, typer.Argument(help="A preset (as camvid-pspnet) or a YAML file.")],
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; runs/NAME-train unless given.")
    ] = None,
    changes: Changes = None,
    seed: Seed = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            help="Save the weights every so many steps on the way: weights alone, for "
            f"{_LOAD}; a run that ends early cannot be attacked."
        ),
    ] = None,
    dry_run: DryRun = False,
    measure: Measure = True,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Train a model with DP-SGD on random crops, canaries planted, for `attack` to play on.

    Also runs under torchrun, one process a GPU; the first one writes.
    """
    given = dict(locals())
    from cropaudit.cli.assignments import configured

    configuration = configured(given)
    if dry_run:
        from cropaudit.cli.work.dry_run import run_dry_run

        run_dry_run(configuration, attacks=False, measure=measure, as_json=as_json)
        return
    try:
        from cropaudit.cli.work.train import run_train

        run_train(configuration, given)
    except KeyboardInterrupt:
        if checkpoint_every is None:
            raise
        words = f"weights alone, which {_LOAD} reads and no attack can be played on"
        typer.secho(
            f"cropaudit: interrupted; only checkpoints were written: {words}", fg="red", err=True
        )
        raise typer.Exit(_INTERRUPTED) from None
