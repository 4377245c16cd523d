"""The options of `cropaudit train`; what is done with them waits in `train_command`.

Nothing heavy is imported here: ``--help`` must not wait for it.
"""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["train"]

_INTERRUPTED = 4


def train(
    config: Annotated[str, typer.Argument(help="A preset (as camvid-pspnet) or a YAML file.")],
    data: Annotated[Path | None, typer.Option(help="Folder of photographs with masks.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; runs/NAME-train unless given.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, any number of times.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of all randomness.")] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            help="Save the weights every so many steps on the way: weights alone, for "
            "cropaudit.training.checkpoints.load_model; a run that ends early cannot be attacked."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print claim, plan and cost; needs no data.")
    ] = False,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Time the model in a dry run.")
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Train a model with DP-SGD on random crops, canaries planted, for `attack` to play on.

    Also runs under torchrun, one process a GPU; the first one writes.
    """
    given = dict(locals())
    try:
        from cropaudit.train_command import run_train

        run_train(given)
    except KeyboardInterrupt:
        kept = "nothing was written"
        if checkpoint_every is not None:
            kept = (
                "only checkpoints were written: weights alone, which "
                "cropaudit.training.checkpoints.load_model reads and no attack can be played on"
            )
        typer.secho(f"cropaudit: interrupted; {kept}", fg="red", err=True)
        raise typer.Exit(_INTERRUPTED) from None
