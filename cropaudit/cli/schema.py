"""The command `cropaudit schema`."""

import typer

__all__ = ["schema"]


def schema() -> None:
    """Print the JSON Schema of report.json."""
    from cropaudit.reports.store import schema_json

    typer.echo(schema_json())
