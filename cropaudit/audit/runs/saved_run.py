"""A saved run, ready to be attacked: data and canaries made again and checked, weights read.

Runs are folders of `cropaudit train`, or of an audit with its files under ``raw/``. What was
trained on is made again from the configuration and compared by digest; nothing is unpickled.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import AliasChoices, AliasPath, BaseModel, Field, StrictInt, ValidationError
from torch import Tensor, nn

from cropaudit.audit.config.audit_config import load_config
from cropaudit.audit.experiment.canary_files import same_canaries
from cropaudit.audit.experiment.subject import Subject, prepare_subject
from cropaudit.audit.experiment.training_plan import training_spec
from cropaudit.audit.results.digests import check_digests, data_digest, sha256
from cropaudit.audit.runs.run_files import EVIDENCE, weights_bytes
from cropaudit.audit.runs.train_run import RECORD_NAME
from cropaudit.errors import InputError, require, shown
from cropaudit.faults import first_fault
from cropaudit.training.dpsgd.divergence import named_run
from cropaudit.training.dpsgd.loop import DpSgdSpec, StepView, pick_device, train
from cropaudit.training.models.build import build_model
from cropaudit.training.transcript.checkpoints import load_checkpoint
from cropaudit.training.transcript.files import load_transcript
from cropaudit.training.transcript.transcript import Transcript

__all__ = ["SavedRun", "load_run", "replay"]

_REPORT = "report.json"


@dataclass(frozen=True, eq=False)
class SavedRun:
    """A run on disk.

    Attributes:
        folder: Where its files are.
        subject: What it was trained on, made again.
        transcript: What it drew.
        final: Weights after the last update.
        initial: Weights before the first.
        weights_digest: SHA-256 of the file of the final weights.
        threads: CPU threads that it was trained with; None if that was not recorded.
        processes: That trained it together.
        seconds: That its training took; None if not recorded.
        recorded: Names of the files whose digests its record holds.
        sealed: Whether the digests of all its files were recorded and hold; earlier versions
            recorded those of the evidence alone, not of the report.
    """

    folder: Path
    subject: Subject
    transcript: Transcript
    final: dict[str, Tensor]
    initial: dict[str, Tensor]
    weights_digest: str
    threads: int | None
    processes: int
    seconds: float | None
    recorded: frozenset[str]
    sealed: bool = True

    def model(self, state: dict[str, Tensor]) -> nn.Module:
        """Builds the run's model with these weights, for evaluation, on this machine's device.

        Raises:
            InputError: If they are another model's.
        """
        spec, classes = training_spec(self.subject), len(self.subject.empty.classes)
        found = build_model(spec.model, classes, 0, norm=spec.norm, weights=spec.weights)
        try:
            found.load_state_dict(state)
        except RuntimeError as error:
            words = f"those of {spec.model}, as its config.yaml says"
            raise InputError(f"weights in {self.folder} must be {words}") from error
        return found.to(pick_device()).eval()


def load_run(folder: Path, data: Path | None = None) -> SavedRun:
    """Reads a run and makes its data and canaries again.

    Args:
        folder: Of `cropaudit train`, or of an audit.
        data: Where its photographs lie now, if elsewhere.

    Raises:
        InputError: If it is no such folder, or its files, its data or its canaries are others than
            those of the training.
    """
    home = folder if (folder / EVIDENCE[0]).is_file() else folder / "raw"
    for name in EVIDENCE:
        legal = f"a folder of cropaudit train or of an audit, with {name}"
        require((home / name).is_file(), "run", legal, folder)
    sealed = check_digests(home.parent if home.name == "raw" else home)
    record = _recorded(home)
    _check_evidence(home, record.files)
    changes = {} if data is None else {"data.folder": str(data)}
    config = load_config(str(home / EVIDENCE[0]), changes)
    subject = prepare_subject(config)
    digest = data_digest(subject.filled)
    drawn = f", as cropaudit {record.version} drew it" if config.data.folder is None else ""
    legal = f"what the run was trained on, of digest {record.data_digest[:12]}{drawn}"
    require(digest == record.data_digest, "data", legal, digest[:12])
    canaries = home / "canaries.npz"
    if canaries.is_file():
        same = same_canaries(canaries, subject.slots, subject.member)
        require(same, "canaries", "those of canaries.npz", "others: another version of cropaudit?")
    transcript = load_transcript(home / "tape.npz")
    _require_same_run(training_spec(subject), transcript)
    return SavedRun(
        folder=home,
        subject=subject,
        transcript=transcript,
        final=load_checkpoint(home / "model.safetensors"),
        initial=load_checkpoint(home / "initial.safetensors"),
        weights_digest=record.files["model.safetensors"],
        threads=record.threads,
        processes=record.processes,
        seconds=record.seconds_per_step * subject.bound.steps or None,
        recorded=frozenset(record.files),
        sealed=sealed,
    )


def replay(
    run: SavedRun,
    observers: Sequence[Callable[[StepView], None]],
    progress: Callable[[int], None] | None = None,
) -> None:
    """Trains the run once more, exactly, with observers attached.

    Args:
        run: The run.
        observers: Called in each step, before the update.
        progress: Called with the number of steps done.

    Raises:
        InputError: If it cannot be repeated here, or other weights come out.
    """
    device, wanted = pick_device().type, run.transcript.facts.device
    require(device == wanted, "replay", f"on {wanted}, as the run was", device)
    # Sums over several processes round otherwise, so that other weights would come out.
    words = "of a run that one process trained (last-iterate and black-box attacks take any)"
    require(run.processes == 1, "replay", words, f"{run.processes} processes")

    def observe(view: StepView) -> None:
        for observer in observers:
            observer(view)

    with _threads(run.threads):
        spec = training_spec(run.subject)
        with named_run("replay of the run"):
            trained = train(run.subject.filled, spec, observe=observe, progress=progress)
    digest = sha256(weights_bytes(trained.model))
    if digest != run.weights_digest:
        # The observers have seen another run, so what they score is not the released model's.
        raise InputError(
            f"replay must end at weights of digest {run.weights_digest[:12]}, got {digest[:12]}: "
            "other libraries, another processor or other numbers of threads round otherwise; "
            "last-iterate and the black-box attacks need no replay"
        )


class _Record(BaseModel):
    """What a run's own record says of it: ``train.json``, or an audit's ``report.json``."""

    schema_version: Literal["2"]
    files: dict[str, str] = Field(
        validation_alias=AliasChoices("files", AliasPath("provenance", "files"))
    )
    data_digest: str = Field(
        validation_alias=AliasChoices("data_digest", AliasPath("identity", "data_digest"))
    )
    version: str = Field(
        default="of another version",
        validation_alias=AliasChoices(
            AliasPath("versions", "cropaudit"), AliasPath("identity", "tool_version")
        ),
    )
    threads: StrictInt | None = Field(default=None, ge=1)
    processes: StrictInt = Field(default=1, ge=1)
    seconds_per_step: float = 0.0


def _recorded(home: Path) -> _Record:
    """Reads the record of a run.

    Raises:
        InputError: If there is none, or it is of another version of cropaudit's documents.
    """
    path = home / RECORD_NAME if (home / RECORD_NAME).is_file() else home.parent / _REPORT
    try:
        return _Record.model_validate_json(path.read_bytes())
    except ValidationError as error:
        fault = error.errors()[0]
        if fault["loc"] == ("schema_version",) and fault["type"] == "literal_error":
            legal = "2, as this version of cropaudit writes it"
            raise InputError(
                f"schema_version of {path} must be {legal}, got {shown(fault['input'])}"
            ) from None
        words = first_fault(error, _Record, str(path))
    except OSError:
        words = "none there"
    legal = f"a folder with {RECORD_NAME}, or raw/ of an audit beside its {_REPORT}"
    if (home / "checkpoints").is_dir():
        legal += " (training that ended early leaves weights alone, which are no run)"
    raise InputError(f"run must be {legal}, got {home}: {words}")


def _check_evidence(home: Path, digests: dict[str, str]) -> None:
    """Compares every file that the run's record names, scores and canaries among them."""
    missing = [name for name in EVIDENCE if name not in digests]
    require(not missing, "the run's record", f"of {', '.join(EVIDENCE)}", f"no {missing[:1]}")
    for name, digest in digests.items():
        path = home / name
        legal = "as its training left it"
        require(path.is_file(), str(path), legal, "no such file")
        require(sha256(path.read_bytes()) == digest, str(path), legal, "a changed file")


def _require_same_run(spec: DpSgdSpec, transcript: Transcript) -> None:
    """Holds the configuration, and so the claim, against what the transcript says was run."""
    for name in ("noise_multiplier", "max_grad_norm", "sampling", "crop"):
        ran, stated = getattr(transcript.facts, name), getattr(spec, name)
        require(stated == ran, f"config.yaml's {name}", f"{ran}, as the tape has it", stated)
    require(
        spec.steps == transcript.steps,
        "config.yaml's steps",
        f"{transcript.steps}, as taped",
        spec.steps,
    )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Gives torch the threads of the run: sums of other numbers of threads round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
