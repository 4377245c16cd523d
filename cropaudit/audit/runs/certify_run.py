"""The logs of a run folder, and what `cropaudit certify RUN` makes of them.

Training logs its noise as it was added (`ResidualNoise`), and which batches held a record and
which windows met a patch at its worst place. A run that logged nothing, of an earlier version, is
replayed: its transcript and its weights give the same logs again.

The chance that a sound run is refuted is at most one minus the confidence, over all limits and
tests together. A run of other noise, rates or crops than its configuration claims is found if the
difference is larger than the limits are wide, which the output states.
"""

from dataclasses import dataclass
from pathlib import Path

from cropaudit.accounting.mechanisms.descriptions import PatchMechanism
from cropaudit.audit.experiment.training_plan import training_spec
from cropaudit.audit.runs.run_files import INCLUSION_NAME, NOISE_NAME, run_trials
from cropaudit.audit.runs.saved_run import load_run, replay
from cropaudit.certificate.certificate import Certificate, certificate, require_claimed_steps
from cropaudit.certificate.run_logs import InclusionLog, NoiseLog
from cropaudit.certificate.transcript_logs import ResidualNoise, inclusion_log
from cropaudit.errors import require
from cropaudit.stages import Stage

__all__ = ["CertifiedRun", "certify_run"]


@dataclass(frozen=True, eq=False)
class CertifiedRun:
    """A certificate of a run.

    Attributes:
        found: What its logs say.
        statement: Its claim, in words.
        sources: Where each log is from, in words.
    """

    found: Certificate
    statement: str
    sources: tuple[str, ...]


def certify_run(
    folder: Path,
    stage: Stage,
    *,
    data: Path | None = None,
    delta: float | None = None,
    confidence: float | None = None,
    again: bool = False,
) -> CertifiedRun:
    """Certifies what a run's own logs say about the mechanism that its configuration claims.

    Args:
        folder: Of `cropaudit train`, or of an audit.
        stage: As in `run_audit`.
        data: Where its photographs lie now, if elsewhere.
        delta: Of all epsilons; the configured one unless given.
        confidence: That all limits hold together; as configured unless given.
        again: Whether to replay the run and take its logs from there, every gradient a second
            time by other code, rather than as training left them.

    Raises:
        InputError: If it is no run, a file of it is missing or changed, or it is to be replayed and
            ends at other weights here.
    """
    stage("The run, its data and its logs", 0)
    run = load_run(folder, data)
    subject, game = run.subject, run.subject.config.game
    level = 1 - (game.confidence if confidence is None else confidence)
    require(0 < level < 1, "confidence", "in (0, 1)", 1 - level)
    claim = subject.claim.mechanism
    mechanism = claim if isinstance(claim, PatchMechanism) else subject.mechanism
    logged = {NOISE_NAME, INCLUSION_NAME} <= run.recorded
    if logged and not again:
        noise = NoiseLog.read(run.folder / NOISE_NAME)
        inclusion = InclusionLog.read(run.folder / INCLUSION_NAME, mechanism.crops)
        sources = tuple(f"{run.folder / name}" for name in (NOISE_NAME, INCLUSION_NAME))
    else:
        watcher = ResidualNoise(training_spec(subject), subject.filled, seed=subject.seeds.training)
        replay(run, [watcher], stage("Replay, its noise logged", run.transcript.steps))
        noise = watcher.log()
        inclusion = inclusion_log(run.transcript, run_trials(subject, run.transcript))
        sources = ("a replay of the run", "its transcript")
    require_claimed_steps(mechanism, noise, inclusion)
    found = certificate(
        mechanism, game.delta if delta is None else delta, level, noise=noise, inclusion=inclusion
    )
    return CertifiedRun(found, subject.claim.statement, sources)
