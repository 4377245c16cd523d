"""Saved runs: attacked from disk as if they had been watched, refused if anything is another."""

import json
import re
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cropaudit.attacks.white_box import WhiteBox
from cropaudit.audit.attack_names import checked_names, known_attacks
from cropaudit.audit.attack_run import Settings, play
from cropaudit.audit.attack_verdict import judge
from cropaudit.audit.canary_files import canary_bytes, same_canaries
from cropaudit.audit.config import AuditConfig, load_config
from cropaudit.audit.digests import MARKER_NAME, sha256
from cropaudit.audit.reference_models import Asking, References, ask_references, vectorised
from cropaudit.audit.saved_run import SavedRun, load_run, replay
from cropaudit.audit.stages import silent
from cropaudit.audit.train_run import TrainedRun, train_run
from cropaudit.errors import InputError
from cropaudit.reports.store import prepare_run_folder, record_files
from cropaudit.training.dpsgd import StepView
from cropaudit.training.samplers import expected_batch

CHANGES: dict[str, Any] = {
    "name": "tiny",
    "seed": 5,
    "patch": "8x8",
    "data.images": 12,
    "data.validation": 12,
    "data.size": "48x96",
    "crop.size": "32x32",
    "training.model": "tiny-net",
    "training.batch": 8,
    "training.steps": 6,
    "training.max_grad_norm": 0.5,
    "training.grad_sample_mode": "auto",
    "game.canary_slots": 10,
    "game.black_box_windows": 2,
}
Made = tuple[TrainedRun, Path]


def written(run: TrainedRun, folder: Path) -> Path:
    """Writes a run as earlier versions did: without digests of all its files."""
    _, files = run.files("cropaudit train")
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def config() -> AuditConfig:
    return load_config("quickstart", CHANGES)


@pytest.fixture(scope="module")
def made(config: AuditConfig, tmp_path_factory: pytest.TempPathFactory) -> Made:
    run = train_run(config, silent)
    return run, written(run, tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def saved(made: Made) -> SavedRun:
    return load_run(made[1])


def test_the_record_says_what_was_trained(made: Made) -> None:
    run, folder = made
    record = json.loads((folder / "train.json").read_text())
    assert record["claim"]["epsilon"] == pytest.approx(run.subject.bound.epsilon, rel=1e-3)
    assert record["claim"]["adjacency"].startswith("patch substitution")
    assert record["claim"]["delta"] == 1e-5
    assert record["utility"]["miou_without_noise"] is not None
    trials = {item["mode"]: item for item in record["grad_sample"]["trials"]}
    assert record["grad_sample"]["mode"] in trials
    assert trials["hooks"]["error"] < 1e-9
    assert record["start"] is None
    assert record["seconds_per_step"] > 0
    # The configuration names the mode that was chosen, so that a replay cannot choose another.
    mode = load_config(str(folder / "config.yaml"), {}).training.grad_sample_mode
    assert mode == record["grad_sample"]["mode"]


def test_a_run_is_read_back(made: Made, saved: SavedRun) -> None:
    run, _ = made
    assert saved.subject.bound == run.subject.bound
    np.testing.assert_array_equal(saved.tape.indices, run.trained.tape.indices)
    model = saved.model(saved.final)
    for name, value in run.trained.model.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)


def test_a_replay_sees_what_a_watcher_saw(made: Made, saved: SavedRun) -> None:
    """Noisy sums add up to the way from the first to the last weights: plain SGD, constant rate."""
    sums: list[torch.Tensor] = []

    def observe(view: StepView) -> None:
        sums.append(view.noisy_sum.clone())

    replay(saved, [observe])
    training = saved.subject.config.training
    scale = training.learning_rate / expected_batch(saved.subject.sampling, saved.subject.records)
    names = [n for n, p in made[0].trained.model.named_parameters() if p.requires_grad]
    way = torch.cat([(saved.initial[n] - saved.final[n]).flatten() for n in names])
    torch.testing.assert_close(torch.stack(sums).sum(dim=0) * scale, way, rtol=1e-4, atol=1e-5)


def test_a_replay_that_ends_elsewhere_is_refused(saved: SavedRun) -> None:
    with pytest.raises(InputError, match="replay must end at weights of digest 000000000000"):
        replay(replace(saved, weights_digest="0" * 64), [])
    with pytest.raises(InputError, match="replay must be of a run that one process trained"):
        replay(replace(saved, processes=2), [])


def test_every_attack_scores_every_canary(saved: SavedRun) -> None:
    attacks = known_attacks()
    tables = play(saved, attacks, Settings(windows=2, references=8, seed=1), silent)
    assert [table.attack for table in tables] == [item.name for item in attacks]
    for table in tables:
        assert table.values.shape == (10,)
        assert np.isfinite(table.values).all(), table.attack
        np.testing.assert_array_equal(table.member, saved.subject.member)
    found = judge(saved.subject, attacks, tables)
    assert not found.contradicted  # ten canaries could not
    assert found.claim.epsilon == pytest.approx(saved.subject.bound.epsilon, rel=1e-3)
    assert [item.name for item in found.attacks] == [item.name for item in attacks]
    assert found.headline.correction == f"Bonferroni over {len(attacks)} attacks"


def test_attacks_repeat_by_their_seed(saved: SavedRun) -> None:
    attacks = checked_names(["loss", "quantile", "last-iterate"])
    one, same, other = (
        play(saved, attacks, Settings(windows=2, references=8, seed=seed), silent)
        for seed in (1, 1, 2)
    )
    for a, b, c in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(a.values, b.values)
        assert (a.values != c.values).any()


def test_the_played_white_box_is_the_watching_one(saved: SavedRun) -> None:
    """Attached to a replay, the attack scores as one that had watched the training itself."""
    table = play(saved, checked_names(["white-box"]), Settings(2, 8, seed=3), silent)[0]
    from cropaudit.training.streams import spawn_seeds

    seed = spawn_seeds(np.random.SeedSequence([3, 0]), 2)[0]
    subject, training = saved.subject, saved.subject.config.training
    watcher = WhiteBox(
        subject.empty,
        subject.slots,
        subject.crop,
        sample_rate=subject.mechanism.sample_rate,
        noise_multiplier=training.noise_multiplier,
        max_grad_norm=training.max_grad_norm,
        seed=seed,
    )
    replay(saved, [watcher])
    np.testing.assert_allclose(table.values, watcher.scores())


def test_references_in_turn_are_those_of_an_ensemble_in_kind(saved: SavedRun) -> None:
    """The slow way keeps shapes and balanced coins; its answers are of the same size."""
    from cropaudit.audit.reference_models import _in_turn
    from cropaudit.audit.training_plan import training_spec

    assert vectorised(saved)
    asking, wanted = Asking(2, 0, 4), References(4, 7)
    fast, fast_coins = ask_references(saved, asking, wanted)
    spec = training_spec(saved.subject)
    slow, slow_coins = _in_turn(saved.subject, spec, asking, wanted, None)
    assert slow.losses.shape == fast.losses.shape == (4, 10, 2, 2, 2)
    assert slow.maps is not None
    assert fast.maps is not None
    assert slow.maps.shape == fast.maps.shape
    for coins in (fast_coins, slow_coins):
        np.testing.assert_array_equal(coins.sum(axis=0), 2)
    assert slow.losses.mean() == pytest.approx(fast.losses.mean(), rel=0.3)


@pytest.mark.parametrize(
    "name", ["config.yaml", "model.safetensors", "initial.safetensors", "tape.npz", "canaries.npz"]
)
def test_a_changed_file_is_refused(made: Made, name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(made[1], tmp_path / "run")
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    with pytest.raises(InputError, match=rf"{name} must be as its training left it, got a changed"):
        load_run(folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"with {name}|{name} .*, got no such file"):
        load_run(folder)


def sealed(files: dict[str, bytes], folder: Path) -> Path:
    """Writes a run folder as the commands do."""
    prepare_run_folder(folder, force=False)
    record_files(folder, files)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_every_file_of_a_training_is_covered(made: Made, saved: SavedRun, tmp_path: Path) -> None:
    files = made[0].files("cropaudit train")[1]
    folder = sealed(files, tmp_path / "run")
    assert not saved.sealed
    assert load_run(folder).sealed
    (folder / "notes.txt").write_text("of the user")
    record_files(folder, ["attacks.csv"])  # what is added later may change
    (folder / "attacks.csv").write_text("score,member")
    assert load_run(folder).sealed
    for name, data in files.items():
        (folder / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(InputError, match=re.escape(f"{folder / name} must be as its run left")):
            load_run(folder)
        (folder / name).write_bytes(data)
    for text in ("{}", "[]", "no", '{"digests": {"../x": "0"}}', '{"digests": [1]}'):
        (folder / MARKER_NAME).write_text(text)
        with (
            nullcontext()
            if text == "{}"
            else pytest.raises(InputError, match=r"must be as cropaudit left it, got a changed")
        ):
            assert not load_run(folder).sealed


def test_every_file_of_an_audit_is_covered(made: Made, tmp_path: Path) -> None:
    own = made[0].files("cropaudit train")[1]
    record = json.loads(own.pop("train.json"))
    raw = {f"raw/{name}": data for name, data in own.items()} | {"raw/probe.csv": b"score,member"}
    stated = {**record["files"], "probe.csv": sha256(b"score,member")}
    report = {
        "provenance": {"files": stated},
        "identity": {"data_digest": record["data_digest"]},
        "verdict": {"status": "violation"},
    }
    text = json.dumps(report)
    files = {**raw, "report.html": b"<html>", "report.json": text.encode()}
    folder = sealed(files, tmp_path / "audit")
    assert load_run(folder).sealed
    (folder / "raw/probe.csv").write_bytes(b"score,member\n1,1")
    with pytest.raises(InputError, match=r"probe.csv must be as its run left it, got a changed"):
        load_run(folder)
    # Of an earlier version the report's own list tells, and of the report itself nothing does.
    (folder / MARKER_NAME).unlink()
    with pytest.raises(InputError, match=r"probe.csv must be as its training left it, got a chan"):
        load_run(folder / "raw")
    (folder / "raw/probe.csv").write_bytes(b"score,member")
    assert not load_run(folder).sealed
    for name in ("report.json", "report.html"):
        again = sealed(files, tmp_path / name)
        (again / name).write_bytes(files[name].replace(b"violation", b"consistent") + b" ")
        for place in (again, again / "raw"):
            with pytest.raises(InputError, match=rf"{name} must be as its run left it"):
                load_run(place)
    for wrong in ([], {"files": []}, {"files": None}):
        (folder / "report.json").write_text(json.dumps({**report, "provenance": wrong}))
        with pytest.raises(InputError, match=r"run must be a folder with train.json"):
            load_run(folder)


def test_other_data_are_refused(made: Made, tmp_path: Path) -> None:
    folder = shutil.copytree(made[1], tmp_path / "run")
    record = json.loads((folder / "train.json").read_text())
    record["data_digest"] = "0" * 64
    (folder / "train.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="data must be what the run was trained on"):
        load_run(folder)


def test_other_canaries_are_refused(made: Made, tmp_path: Path) -> None:
    run, source = made
    folder = shutil.copytree(source, tmp_path / "run")
    subject = run.subject
    record = json.loads((folder / "train.json").read_text())

    def put(data: bytes) -> None:
        (folder / "canaries.npz").write_bytes(data)
        record["files"]["canaries.npz"] = sha256(data)
        (folder / "train.json").write_text(json.dumps(record))

    put(canary_bytes(subject.slots, ~subject.member))
    with pytest.raises(InputError, match=r"canaries must be those of canaries.npz"):
        load_run(folder)
    assert not same_canaries(folder / "canaries.npz", subject.slots, subject.member)
    assert same_canaries(folder / "canaries.npz", subject.slots, ~subject.member)
    put(b"nothing")
    with pytest.raises(InputError, match="canaries must be a file that training saved"):
        load_run(folder)


def test_the_raw_folder_of_an_audit_is_a_run(made: Made, tmp_path: Path) -> None:
    raw = shutil.copytree(made[1], tmp_path / "audit" / "raw")
    record = json.loads((raw / "train.json").read_text())
    (raw / "train.json").unlink()
    report = {
        "provenance": {"files": record["files"]},
        "identity": {"data_digest": record["data_digest"]},
    }
    with pytest.raises(InputError, match=r"run must be a folder with train.json"):
        load_run(raw)
    (tmp_path / "audit" / "report.json").write_text(json.dumps(report))
    for folder in (raw, tmp_path / "audit"):
        assert load_run(folder).weights_digest == record["weights_digest"]


def test_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run must be a folder .* with config.yaml"):
        load_run(tmp_path)
