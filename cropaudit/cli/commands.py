"""The command line of typer: a group of the commands that are asked for. Heavy imports wait."""

from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cropaudit import __version__
from cropaudit.cli.bound import bound
from cropaudit.cli.shell import SUMMARY, leaving, overview

__all__ = ["group"]

_RAW = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": list[str]()}


class _Commands(TyperGroup):
    """Leaves with 4 if a command is interrupted, and says what all commands do."""

    def invoke(self, ctx: Any) -> Any:  # typer carries a click of its own, of no public type
        with leaving():
            return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes what the whole command line says of itself, however few commands are loaded."""
        formatter.write(overview() + "\n")


def group(names: Iterable[str]) -> typer.Typer:
    """Returns a command line of these commands."""
    app = typer.Typer(
        cls=_Commands,
        help=SUMMARY,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_version)
    for name in names:
        if name == "bound":  # which reads its options itself
            app.command(name, context_settings=_RAW)(_bound)
            continue
        app.command(name)(getattr(import_module(f"cropaudit.cli.{name}"), name))
    return app


def _bound(context: typer.Context) -> None:
    """Compute the amplified patch-level epsilon of a pipeline, or what a target allows."""
    bound(context.args)


def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"cropaudit {__version__}")
        raise typer.Exit
