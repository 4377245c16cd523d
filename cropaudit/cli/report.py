"""`cropaudit report`: draws a finished run again, from what its folder holds and nothing else."""

from pathlib import Path
from typing import Annotated

import typer

from cropaudit.errors import require

__all__ = ["report"]


def report(
    run: Annotated[Path, typer.Argument(help="Folder of cropaudit audit or of cropaudit train.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="As terminal, json, html, ...; unless given, by the ending of --out, or terminal.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File or folder to write; standard output unless given.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace a file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
) -> None:
    """Draw a finished run again, byte for byte as the run did."""
    from rich.console import Console

    from cropaudit.reports.outputs import check_output, write_output
    from cropaudit.reports.render.formats import FORMATS, draw, find_format
    from cropaudit.reports.render.terminal import print_run
    from cropaudit.reports.store import open_run, run_of, write_files

    require(form in (None, "json") or not as_json, "format", "json, or left out, with --json", form)
    chosen = find_format("json" if as_json else form, out)
    if out is None and chosen == "terminal":
        print_run(open_run(run).document, Console())
        return
    if out is None:
        typer.echo(draw(chosen, open_run(run)), nl=False)
        return
    ending = FORMATS[chosen].ending
    path = out / f"report{ending}" if out.is_dir() else out
    check_output(path, (ending,), force, name="out")
    data = draw(chosen, open_run(run))
    home = run_of(path)
    if home is None:
        write_output(path, data)
    else:  # a file of ours in a run folder is one that --force may replace with the run
        write_files(home, {path.resolve().relative_to(home).as_posix(): data})
    typer.echo(f"wrote {path}")
