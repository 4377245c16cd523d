import dataclasses
import json

import pytest
import torch

from cropaudit.accounting.geometry import Crop, Size
from cropaudit.errors import InputError
from cropaudit.training.checkpoints import (
    Checkpoints,
    load_checkpoint,
    load_model,
    save_checkpoint,
)
from cropaudit.training.data import SegmentationData
from cropaudit.training.dpsgd import DpSgdSpec, StepView, train
from cropaudit.training.models import build_model
from cropaudit.training.samplers import FixedSize

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = DpSgdSpec("small-unet", Crop(Size(16, 16)), FixedSize(2), 5, 1.0, 1.0, 0.1, seed=1)


@pytest.fixture(scope="module")
def data() -> SegmentationData:
    stream = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (3, 3, 20, 20), generator=stream, dtype=torch.uint8)
    masks = torch.randint(2, (3, 20, 20), generator=stream, dtype=torch.uint8)
    return SegmentationData(tuple(pixels), tuple(masks), ("a", "b"), tuple("abc"), "test")


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_weights_are_saved_as_each_step_finds_them(data, tmp_path):
    before: list[dict[str, torch.Tensor]] = []

    def observe(view: StepView) -> None:
        before.append({k: v.clone() for k, v in view.model.state_dict().items()})

    plan = Checkpoints(tmp_path / "deep" / "folder", 2)
    trained = train(data, SPEC, observe=observe, checkpoints=plan, device=torch.device("cpu"))
    found = {path.name: load_checkpoint(path) for path in plan.folder.glob("step-*")}
    assert sorted(found) == [f"step-{step:06d}.safetensors" for step in (0, 2, 4, 5)]
    assert equal(found["step-000000.safetensors"], trained.initial)
    for step in (0, 2, 4):
        assert equal(found[f"step-{step:06d}.safetensors"], before[step])
    assert equal(load_checkpoint(plan.path(5)), trained.model.state_dict())
    build_model("small-unet", 2, 9).load_state_dict(found["step-000002.safetensors"])


def test_the_initial_state_is_kept_apart_from_what_training_moves(data):
    trained = train(data, SPEC, device=torch.device("cpu"))
    seeds = trained.tape.facts.seeds
    assert equal(trained.initial, build_model("small-unet", 2, seeds.weights).state_dict())
    assert not equal(trained.initial, trained.model.state_dict())
    other = train(data, dataclasses.replace(SPEC, seed=2), device=torch.device("cpu"))
    assert not equal(trained.initial, other.initial)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"no tensors")
    for name in ("a.safetensors", "absent.safetensors"):
        with pytest.raises(InputError, match="checkpoint must be a safetensors file"):
            load_checkpoint(tmp_path / name)
    with pytest.raises(InputError, match="every must be at least 1, got 0"):
        Checkpoints(tmp_path, 0)


def test_the_model_of_a_run_that_ended_early_can_be_built(data, tmp_path):
    plan = Checkpoints(tmp_path, 2)

    def end(done: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data, SPEC, checkpoints=plan, progress=end)
    model = load_model(plan.path(2))
    assert not model.training
    assert equal(model.state_dict(), load_checkpoint(plan.path(2)))
    assert json.loads((tmp_path / "model.json").read_text()) == {
        "model": SPEC.model,
        "classes": len(data.classes),
        "norm": "group",
        "steps": SPEC.steps,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "model.json must be the file that training wrote beside"),
        ("[" * 100_000, "model.json must be the file"),
        ('{"model": "tiny-net"}', "model.json must be the file"),
        ('{"model": 3, "classes": 3, "norm": "group", "steps": 1}', "model.json must be the file"),
        (
            '{"model": "tiny-net", "classes": 19, "norm": "group", "steps": 1}',
            "checkpoint must be weights of tiny-net for 19 classes",
        ),
        (
            '{"model": "pspnet", "classes": 3, "norm": "frozen-batch", "steps": 1}',
            "norm must be group for a model built from its name, got frozen-batch",
        ),
    ],
)
def test_a_file_that_names_no_model_is_refused(tmp_path, text, words):
    plan = Checkpoints(tmp_path, 1)
    save_checkpoint(plan, 0, 1, build_model("tiny-net", 3, 0))
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(InputError, match=words):
        load_model(plan.path(0))
