"""The options of `cropaudit estimate`; what is done with them waits in `estimate_command`.

Nothing heavy is imported here: ``--help`` must not wait for it.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

__all__ = ["estimate"]


def _scores(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="What was scored")


def _claim(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="What is claimed")


def _cut(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="Where scores are cut")


def _follow(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="While games still run")


def _out(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="What comes out")


def estimate(
    scores: Annotated[
        Path | None,
        typer.Argument(
            help="CSV with the columns score and member (1 or 0) and, if wanted, attack and "
            "position; or member and one column score_NAME for each attack. .csv.gz, .npz and "
            "LeakPro's .json as well. - reads standard input."
        ),
    ] = None,
    member: Annotated[Path | None, _scores("Or .npy of the members' scores.")] = None,
    nonmember: Annotated[Path | None, _scores("And .npy of the nonmembers' scores.")] = None,
    score_column: Annotated[
        str | None, _scores("Column with the score, higher for members, if called otherwise.")
    ] = None,
    member_column: Annotated[
        str | None, _scores("Column that says who was a member, if called otherwise.")
    ] = None,
    repeats_are_independent: Annotated[
        bool,
        _scores("Equal rows were played anew: take them for trials.", "--repeats-are-independent"),
    ] = False,
    trials: Annotated[
        Literal["independent", "one-run"] | None,
        _scores("independent (unless given), or canaries that share one run."),
    ] = None,
    one_run: Annotated[bool | None, _scores("Short for --trials one-run.", "--one-run")] = None,
    two_sided: Annotated[
        bool | None, _scores("Low scores may speak for members: test either sign.", "--two-sided")
    ] = None,
    delta: Annotated[float, _claim("Delta of every epsilon.")] = 1e-5,
    confidence: Annotated[float, _claim("Confidence of each bound, and of the headline.")] = 0.95,
    mechanism: Annotated[
        str | None,
        _claim("What is said to have run, as poisson:noise=1,q=0.1,rho=0.3,steps=100."),
    ] = None,
    order: Annotated[
        Literal["either", "forward", "backward"] | None,
        _claim(
            "forward: members held the patch whose gradient nothing else gives, which allows a "
            "sharper test; backward: the nonmembers did; either (unless given): not known."
        ),
    ] = None,
    claim: Annotated[
        float | None, _claim("Claimed epsilon; that of the mechanism unless given.")
    ] = None,
    threshold: Annotated[
        float | None, _cut("At this score, fixed before any score was seen.")
    ] = None,
    split: Annotated[
        bool | None, _cut("Where half of the scores advise; the rest are tested.", "--split")
    ] = None,
    rates: Annotated[
        str | None,
        _cut("At these false positive rates, as 0.3,0.1; corrected for. Planned unless given."),
    ] = None,
    seed: Annotated[
        int | None,
        _cut(
            "Of the order in which rows are split and paired, to repeat a result; drawn anew "
            "unless given: one picked by its result voids the confidence."
        ),
    ] = None,
    follow: Annotated[
        bool | None,
        _follow("Read lines SCORE,MEMBER as games finish; stop once decided.", "--follow"),
    ] = None,
    within: Annotated[
        float | None,
        _follow("Also stop once the bound is this share of the claim; 0.9 unless given."),
    ] = None,
    plot: Annotated[
        Path | None,
        _out("Picture of the ROC and the bounds (or of the bound by games): .svg, .png or .pdf."),
    ] = None,
    force: Annotated[bool, _out("Replace files.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON only.", rich_help_panel="What comes out")
    ] = False,
) -> None:
    """Turn attack scores of any origin into lower bounds on epsilon.

    Exit code 1 if a claim or mechanism was stated and the scores contradict it, else 0.
    """
    given = {key: value for key, value in locals().items() if value is not None}
    # The matrices here are small: threads that wait for one another make them three times slower.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from cropaudit.estimate_command import load, run_estimate

    contradicted = run_estimate(load(given))
    raise typer.Exit(1 if contradicted else 0)
