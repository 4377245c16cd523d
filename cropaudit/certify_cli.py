"""`cropaudit certify`: what a run's own logs say about its parameters."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cropaudit.errors import require

__all__ = ["certify"]


def certify(
    mechanism: Annotated[
        str,
        typer.Option(help="Claimed mechanism, as poisson:noise=1,q=0.1,rho=0.3,steps=100."),
    ],
    noise: Annotated[
        Path | None,
        typer.Option(help=".npy of the noise in directions without signal, (steps, directions)."),
    ] = None,
    max_grad_norm: Annotated[
        float, typer.Option(help="Clipping norm, if the noise was not divided by it.")
    ] = 1.0,
    inclusion: Annotated[
        Path | None,
        typer.Option(
            help="CSV with the columns step, included and met (0 or 1), every step of a record; of "
            "several records, record as well."
        ),
    ] = None,
    delta: Annotated[float, typer.Option(help="Delta of the epsilons.")] = 1e-5,
    confidence: Annotated[float, typer.Option(help="That all limits hold together.")] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Certify noise and rates from a run's own logs (parameters, not the pipeline).

    Leaves with 1 if a logged parameter is not as claimed, or noise is not what its limits take for
    granted.
    """
    from cropaudit.audit.certificate import certify as certified
    from cropaudit.reports.certificate_summary import certificate_document, certificate_lines

    given = noise is not None or inclusion is not None
    require(given, "logs", "given as --noise, --inclusion, or both", "neither")
    found = certified(
        mechanism,
        delta=delta,
        confidence=confidence,
        noise=noise,
        max_grad_norm=max_grad_norm,
        inclusion=inclusion,
    )
    if as_json:
        typer.echo(json.dumps(certificate_document(found), indent=2, allow_nan=False))
    else:
        for line in certificate_lines(found):
            typer.echo(line)
    raise typer.Exit(1 if found.causes or found.exceeded else 0)
