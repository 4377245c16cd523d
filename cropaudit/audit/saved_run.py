"""A saved run, ready to be attacked: data and canaries made again and checked, weights read.

Runs are folders of `cropaudit train`, or of an audit with its files under ``raw/``. What was
trained on is made again from the configuration and compared by digest; nothing is unpickled.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cropaudit.audit.canary_files import same_canaries
from cropaudit.audit.config import load_config
from cropaudit.audit.declared import check_folder
from cropaudit.audit.digests import check_digests, data_digest, sha256
from cropaudit.audit.run_files import weights_bytes
from cropaudit.audit.subject import Subject, prepare_subject
from cropaudit.audit.train_run import RECORD_NAME
from cropaudit.audit.training_plan import training_spec
from cropaudit.errors import InputError, require
from cropaudit.training.checkpoints import load_checkpoint
from cropaudit.training.divergence import named_run
from cropaudit.training.dpsgd import DpSgdSpec, StepView, pick_device, train
from cropaudit.training.models import build_model
from cropaudit.training.tape import Tape
from cropaudit.training.tape_files import load_tape

__all__ = ["SavedRun", "load_run", "replay"]

_REPORT = "report.json"
_FILES = ("config.yaml", "model.safetensors", "initial.safetensors", "tape.npz")


@dataclass(frozen=True, eq=False)
class SavedRun:
    """A run on disk.

    Attributes:
        folder: Where its files are.
        subject: What it was trained on, made again.
        tape: What it drew.
        final: Weights after the last update.
        initial: Weights before the first.
        weights_digest: SHA-256 of the file of the final weights.
        threads: CPU threads that it was trained with; None if that was not recorded.
        processes: That trained it together.
        seconds: That its training took; None if not recorded.
        sealed: Whether the digests of all its files were recorded and hold; earlier versions
            recorded those of the evidence alone, not of the report.
    """

    folder: Path
    subject: Subject
    tape: Tape
    final: dict[str, Tensor]
    initial: dict[str, Tensor]
    weights_digest: str
    threads: int | None
    processes: int
    seconds: float | None
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
    home = folder if (folder / _FILES[0]).is_file() else folder / "raw"
    for name in _FILES:
        legal = f"a folder of cropaudit train or of an audit, with {name}"
        require((home / name).is_file(), "run", legal, folder)
    sealed = check_digests(home.parent if home.name == "raw" else home)
    stated = _stated(home)
    _check_evidence(home, stated["files"])
    changes = {} if data is None else {"data.folder": str(data)}
    config = load_config(str(home / _FILES[0]), changes)
    check_folder(config)
    subject = prepare_subject(config)
    digest = data_digest(subject.filled)
    legal = f"what the run was trained on, of digest {stated['data_digest'][:12]}"
    require(digest == stated["data_digest"], "data", legal, digest[:12])
    canaries = home / "canaries.npz"
    if canaries.is_file():
        same = same_canaries(canaries, subject.slots, subject.member)
        require(same, "canaries", "those of canaries.npz", "others: another version of cropaudit?")
    tape = load_tape(home / "tape.npz")
    _require_same_run(training_spec(subject), tape)
    return SavedRun(
        folder=home,
        subject=subject,
        tape=tape,
        final=load_checkpoint(home / "model.safetensors"),
        initial=load_checkpoint(home / "initial.safetensors"),
        weights_digest=stated["files"]["model.safetensors"],
        threads=_whole(stated, "threads"),
        processes=_whole(stated, "processes") or 1,
        seconds=stated.get("seconds_per_step", 0) * subject.bound.steps or None,
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
    device, wanted = pick_device().type, run.tape.facts.device
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


def _stated(home: Path) -> dict[str, Any]:
    """Returns what the run's own record says: of `cropaudit train`, or the audit's report."""
    try:
        if (home / RECORD_NAME).is_file():
            found: dict[str, Any] = json.loads((home / RECORD_NAME).read_bytes())
            found["files"]["model.safetensors"], found["data_digest"]
            return {**found, "files": dict(found["files"].items())}
        report = json.loads((home.parent / _REPORT).read_bytes())
        return {
            "files": dict(report["provenance"]["files"].items()),
            "data_digest": report["identity"]["data_digest"],
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        legal = f"a folder with {RECORD_NAME}, or raw/ of an audit beside its {_REPORT}"
        if (home / "checkpoints").is_dir():
            legal += " (training that ended early leaves weights alone, which are no run)"
        raise InputError(f"run must be {legal}, got {home}") from error


def _check_evidence(home: Path, digests: dict[str, str]) -> None:
    """Compares every file that the run's record names, scores and canaries among them."""
    missing = [name for name in _FILES if name not in digests]
    require(not missing, "the run's record", f"of {', '.join(_FILES)}", f"no {missing[:1]}")
    for name, digest in digests.items():
        path = home / name
        legal = "as its training left it"
        require(path.is_file(), str(path), legal, "no such file")
        require(sha256(path.read_bytes()) == digest, str(path), legal, "a changed file")


def _require_same_run(spec: DpSgdSpec, tape: Tape) -> None:
    """Holds the configuration, and so the claim, against what the tape says was run."""
    for name in ("noise_multiplier", "max_grad_norm", "sampling", "crop"):
        ran, stated = getattr(tape.facts, name), getattr(spec, name)
        require(stated == ran, f"config.yaml's {name}", f"{ran}, as the tape has it", stated)
    require(spec.steps == tape.steps, "config.yaml's steps", f"{tape.steps}, as taped", spec.steps)


def _whole(stated: dict[str, Any], name: str) -> int | None:
    value = stated.get(name)
    legal = value is None or (type(value) is int and value >= 1)
    require(legal, f"{name} in the run's record", "a whole number from 1", value)
    return value


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Gives torch the threads of the run: sums of other numbers of threads round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
