"""What the command line does, as calls that return typed documents; nothing is printed.

Folders are written only where one is named, whole or not at all, and never over what was there
unless ``force`` is given. Exit codes are the command line's: here a verdict is a field.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from cropaudit.accounting.mechanisms.descriptions import PatchMechanism
from cropaudit.accounting.mechanisms.registry import parse_mechanism
from cropaudit.audit.config.audit_config import AuditConfig, load_config
from cropaudit.audit.results.estimate_result import Estimate
from cropaudit.audit.results.result import AuditReport
from cropaudit.audit.results.train_result import TrainRecord
from cropaudit.audit.scores.tables import ScoreTable, read_table
from cropaudit.audit.verdict.estimate import estimate as estimated
from cropaudit.certificate.certificate import Certificate
from cropaudit.certificate.certificate import certify as certified
from cropaudit.conformance.pipeline_claim import PipelineClaim
from cropaudit.conformance.subjects import Subjects
from cropaudit.conformance.suite import LEVEL, SuiteResult, run_suite
from cropaudit.errors import InputError, require
from cropaudit.estimators.hypothesis import Hypothesis
from cropaudit.estimators.scores import Scores
from cropaudit.reports.store import (
    HTML_NAME,
    check_run_folder,
    open_run,
    prepare_run_folder,
    write_files,
    write_report,
)
from cropaudit.stages import Stage, silent

__all__ = ["attack", "audit", "certify", "conform", "estimate", "train"]


def audit(
    config: str | AuditConfig = "quickstart",
    *,
    out: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    force: bool = False,
    stage: Stage = silent,
) -> AuditReport:
    """Trains, attacks and decides, as ``cropaudit audit`` does.

    Args:
        config: A preset's name, the path of a YAML file, or a configuration.
        out: The run folder, with the report drawn in it; nothing is written unless given.
        changes: Dotted keys of the configuration and their values.
        force: Whether an earlier run in that folder may be replaced.
        stage: Told what is being done: a title and a total; returns what takes the amount done.

    Raises:
        InputError: If the configuration, the data or the folder cannot be used.
    """
    from cropaudit.audit.runs.run import run_audit
    from cropaudit.reports.render.formats import draw

    chosen, folder = _configured(config, changes), _folder(out, force)

    def keep(raw: Mapping[str, bytes]) -> None:
        if folder is not None:
            prepare_run_folder(folder, force=force)
            write_files(folder, {f"raw/{name}": data for name, data in raw.items()})

    outcome = run_audit(chosen, "cropaudit.audit(...)", stage, keep)
    if folder is not None:
        write_files(folder, outcome.pictures)
        write_report(folder, outcome.report)
        write_files(folder, {HTML_NAME: draw("html", open_run(folder))})
    return outcome.report


def train(
    config: str | AuditConfig = "quickstart",
    *,
    out: str | Path,
    changes: Mapping[str, Any] | None = None,
    force: bool = False,
    stage: Stage = silent,
) -> TrainRecord:
    """Trains with canaries planted and writes a run folder to attack, as ``cropaudit train``.

    Args:
        config: As for `audit`.
        out: The run folder.
        changes: As for `audit`.
        force: As for `audit`.
        stage: As for `audit`.

    Raises:
        InputError: If the configuration, the data or the folder cannot be used.
    """
    from cropaudit.audit.runs.train_run import train_run

    chosen, folder = _configured(config, changes), Path(out)
    check_run_folder(folder, force=force)
    record, files = train_run(chosen, stage).files("cropaudit.train(...)")
    prepare_run_folder(folder, force=force)
    write_files(folder, files)
    return record


def attack(
    run: str | Path,
    attacks: Sequence[str] = (),
    *,
    data: str | Path | None = None,
    windows: int | None = None,
    references: int | None = None,
    seed: int = 0,
    stage: Stage = silent,
) -> Estimate:
    """Plays attacks on a saved run, as ``cropaudit attack``; writes nothing.

    Args:
        run: The run folder.
        attacks: Their names, at least one: the level is split over them.
        data: Folder of the run's photographs, if it was moved.
        windows: Crops shown of each slot; the run's own unless given.
        references: Reference models to train; the run's own unless given.
        seed: Of all draws of the attacks.
        stage: As for `audit`.

    Returns:
        What the scores show, held against the run's claim.

    Raises:
        InputError: If the run, its data or an attack cannot be used.
    """
    from cropaudit.attacks.registry import one_run_named
    from cropaudit.audit.games.one_run import Settings
    from cropaudit.audit.runs.attack_run import play
    from cropaudit.audit.runs.attack_verdict import judge
    from cropaudit.audit.runs.saved_run import load_run

    chosen = one_run_named(list(attacks))
    saved = load_run(Path(run), None if data is None else Path(data))
    own = saved.subject.config
    settings = Settings(
        own.game.black_box_windows if windows is None else windows,
        own.references.models if references is None else references,
        seed,
    )
    return judge(saved.subject, chosen, play(saved, chosen, settings, stage)).found


def estimate(
    scores: str | Path | Mapping[str, tuple[ArrayLike, ArrayLike]] | tuple[ArrayLike, ArrayLike],
    *,
    mechanism: PatchMechanism | str | None = None,
    **asked: Any,
) -> Estimate:
    """Turns membership scores into lower bounds on epsilon, as ``cropaudit estimate``.

    Args:
        scores: A CSV, ``.npz`` or ``.json`` file; or scores with the patch's content A and with
            content B, two arrays of shape (n,); or a pair of such arrays for each attack's name.
        mechanism: What is said to have run, or its text, as ``poisson:noise=1,q=.1,...``.
        **asked: The other fields of `Hypothesis`: delta, confidence, claim, trials, order, ...

    Raises:
        InputError: If the scores or a field cannot be used.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> found = estimate((rng.normal(2, 1, 500), rng.normal(0, 1, 500)), delta=0.0, seed=0)
    >>> found.headline.epsilon_lower > 1
    True
    """
    named = parse_mechanism(mechanism) if isinstance(mechanism, str) else mechanism
    try:
        hypothesis = Hypothesis(mechanism=named, **asked)
    except TypeError as error:
        raise InputError(f"estimate takes the fields of Hypothesis, got {error}") from error
    if isinstance(scores, str | Path):
        return estimated(read_table(Path(scores)), hypothesis)
    pairs = scores if isinstance(scores, Mapping) else {"": scores}
    for pair in pairs.values():
        legal = "two arrays, with content A and with content B"
        require(isinstance(pair, tuple | list) and len(pair) == 2, "scores", legal, _kind(pair))
    return estimated([_table(name, *pair) for name, pair in pairs.items()], hypothesis)


def certify(
    run: str | Path | None = None, *, mechanism: PatchMechanism | str | None = None, **logs: Any
) -> Certificate:
    """Says what a run's own logs show of its noise and its rates, as ``cropaudit certify``.

    Args:
        run: A run folder, which names its mechanism and holds its logs.
        mechanism: What is claimed, where logs are given instead.
        **logs: With a run ``data``, ``delta``, ``confidence`` and ``again``; with a mechanism
            ``noise``, ``inclusion``, ``max_grad_norm``, ``delta`` (1e-5) and ``confidence``.

    Raises:
        InputError: If neither or both are given, or the logs cannot be used.
    """
    if (run is None) == (mechanism is None):
        raise InputError("run must be a run folder, or left out beside mechanism, and not both")
    if mechanism is not None:
        return certified(mechanism, **{"delta": 1e-5, **logs})
    from cropaudit.audit.runs.certify_run import certify_run

    return certify_run(Path(str(run)), silent, **logs).found


def conform(
    *, claimed: PipelineClaim | None = None, level: float = LEVEL, **code: Any
) -> SuiteResult:
    """Puts code that is named to the test, in a process of its own, as ``cropaudit conform``.

    For objects at hand, and for test suites, see `assert_conforms`.

    Args:
        claimed: What the code is said to do.
        level: Probability, at most, of any false alarm.
        **code: The fields of `Subjects`: transform, loader, model, trainer or pipeline, each as
            ``path/to/file.py:Name``, and how to probe them.

    Raises:
        InputError: If nothing is named, or a field is not known.
    """
    try:
        subjects = Subjects(**code)
    except TypeError as error:
        raise InputError(f"conform takes the fields of Subjects, got {error}") from error
    return run_suite(subjects, claimed or PipelineClaim(), level)


def _configured(config: str | AuditConfig, changes: Mapping[str, Any] | None) -> AuditConfig:
    if isinstance(config, str):
        return load_config(config, dict(changes or {}))
    if changes:
        raise InputError("changes must be left out where a configuration is given")
    return config


def _folder(out: str | Path | None, force: bool) -> Path | None:
    if out is None:
        return None
    check_run_folder(Path(out), force=force)
    return Path(out)


def _kind(pair: Any) -> str:
    many = isinstance(pair, tuple | list)
    return f"{len(pair)} of them" if many else f"a value of type {type(pair).__name__}"


def _table(name: str, member: ArrayLike, nonmember: ArrayLike) -> ScoreTable:
    import numpy as np

    one, other = (np.asarray(values, dtype=np.float64) for values in (member, nonmember))
    found = Scores.of(one, other)
    bits = np.repeat([True, False], [len(found.member), len(found.nonmember)])
    return ScoreTable(name, np.concatenate([found.member, found.nonmember]), bits)
