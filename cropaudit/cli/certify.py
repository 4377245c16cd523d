"""`cropaudit certify`: what a run's own logs say about its parameters."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cropaudit.cli.audit import AsJson
from cropaudit.errors import InputError, require

__all__ = ["certify"]


def certify(
    run: Annotated[
        Path | None,
        typer.Argument(help="Run folder, which names its mechanism and holds its logs."),
    ] = None,
    mechanism: Annotated[
        str | None,
        typer.Option(help="Claimed mechanism, as poisson:noise=1,q=0.1,rho=0.3,steps=100."),
    ] = None,
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
    data: Annotated[
        Path | None, typer.Option(help="Folder of the run's photographs, if it was moved.")
    ] = None,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay", help="Train RUN once more and log its noise from there, by other code."
        ),
    ] = False,
    delta: Annotated[
        float | None, typer.Option(help="Delta of the epsilons; the run's, or 1e-5.")
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="That all limits hold together; the run's, or 0.95.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Certify noise and rates from a run's own logs (parameters, not the pipeline).

    Leaves with 1 if a logged parameter is not as claimed, or noise is not what its limits take for
    granted.
    """
    from cropaudit.reports.render.certificate_summary import certificate_document, certificate_lines

    given = noise is not None or inclusion is not None
    about: dict[str, Any] = {}
    if run is not None:
        alone = mechanism is None and not given
        require(alone, "logs", "those of the run", "others beside it (--mechanism takes no RUN)")
        from cropaudit.audit.runs.certify_run import certify_run
        from cropaudit.reports.progress import progress_stages

        with progress_stages() as stage:
            whole = certify_run(
                run, stage, data=data, delta=delta, confidence=confidence, again=replay
            )
        about = {"run": str(run), "statement": whole.statement, "logs": list(whole.sources)}
        found = whole.found
    else:
        from cropaudit.certificate.certificate import certify as certified

        legal = "a run folder, unless --mechanism and logs are given"
        if mechanism is None:
            raise InputError(f"run must be {legal}, got none")
        require(given, "logs", "given as --noise, --inclusion, or both", "neither")
        found = certified(
            mechanism,
            delta=1e-5 if delta is None else delta,
            confidence=0.95 if confidence is None else confidence,
            noise=noise,
            max_grad_norm=max_grad_norm,
            inclusion=inclusion,
        )
    if as_json:
        typer.echo(json.dumps(about | certificate_document(found), indent=2, allow_nan=False))
    else:
        if about:
            typer.echo(f"Claim: {about['statement']}\nLogs: {' and '.join(about['logs'])}")
        for line in certificate_lines(found):
            typer.echo(line)
    raise typer.Exit(1 if found.causes or found.exceeded else 0)
