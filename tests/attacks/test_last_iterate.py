"""The last iterate: the run's noisy sums add up again, and a slot is seen on its side."""

from dataclasses import replace

import pytest
import torch

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.attacks.last_iterate import RunFacts, last_iterate_scores, summed_updates
from cropaudit.attacks.projections import Projector
from cropaudit.attacks.slot_views import slot_views
from cropaudit.errors import InputError
from cropaudit.training.canaries import add_slots
from cropaudit.training.data import SegmentationData
from cropaudit.training.dpsgd import DpSgdSpec, train
from cropaudit.training.models import build_model
from cropaudit.training.samplers import Poisson

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CROP = Crop(Size(14, 16))
PATCH = Rectangle(Size(6, 6))
CLIP, RATE = 0.7, 0.3


def scenes(images: int = 4) -> SegmentationData:
    stream = torch.Generator().manual_seed(3)
    shapes = [(24, 28), (26, 22), (24, 28), (31, 25)][:images]
    return SegmentationData(
        tuple(torch.randint(256, (3, *s), generator=stream, dtype=torch.uint8) for s in shapes),
        tuple(torch.randint(4, s, generator=stream, dtype=torch.uint8) for s in shapes),
        ("sky", "road", "car", "tree"),
        tuple(f"image {i}" for i in range(images)),
        "test",
    )


@pytest.mark.numeric
def test_the_last_iterate_gives_back_the_sum_of_the_noisy_sums() -> None:
    data = scenes()
    sums = []
    spec = DpSgdSpec("small-unet", CROP, Poisson(RATE), 4, 1.0, CLIP, 0.1, seed=1)
    run = train(data, spec, device=CPU, observe=lambda view: sums.append(view.noisy_sum.clone()))
    before = build_model("small-unet", 4, 0)
    before.load_state_dict(run.initial)
    facts = RunFacts(Poisson(RATE), 4, 0.1, 1.0, CLIP)
    got = summed_updates(before, run.model, facts, len(data))
    torch.testing.assert_close(got, torch.stack(sums).double().sum(dim=0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("world_a", [True, False])
def test_the_last_iterate_sees_a_slot_on_its_side(world_a: bool) -> None:
    """The weights moved by a slot's mean gradient and by nothing else."""
    data, slots = add_slots(scenes(), 2, CROP, PATCH, seed=2)
    facts = RunFacts(Poisson(RATE), 10, 0.1, 1.0, CLIP)
    before, after = (build_model("small-unet", 4, 0) for _ in range(2))
    views = slot_views(data, slots, CROP, 3, seed=4)[1]
    images, masks = views.crops(data, CROP)
    world = slice(0, 3) if world_a else slice(3, 6)
    moved = Projector(before, max_grad_norm=CLIP).clipped_sum(images[world], masks[world])
    moved *= 10 * RATE * views.inclusion / 3
    natural = 0.1 / (RATE * len(data))  # learning rate over the expected batch
    parameters = [p for p in after.parameters() if p.requires_grad]
    pieces = torch.split(moved * natural, [p.numel() for p in parameters])
    with torch.no_grad():
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter -= piece.view_as(parameter)
    bare = replace(data, masks=tuple(torch.full_like(m, 255) for m in data.masks))
    scores = last_iterate_scores(before, after, bare, slots, CROP, facts, seed=4, windows=3)
    assert (scores[1] > 0) == world_a
    assert abs(scores[1]) > abs(scores[0])


def test_other_models_and_impossible_runs_are_refused() -> None:
    model = build_model("small-unet", 4, 0)
    facts = RunFacts(Poisson(RATE), 10, 0.1, 1.0, CLIP)
    with pytest.raises(InputError, match="model_after must be of the same parameters"):
        summed_updates(model, build_model("small-unet", 5, 0), facts, 6)
    with pytest.raises(InputError, match="steps must be at least 1, got 0"):
        RunFacts(Poisson(RATE), 0, 0.1, 1.0, CLIP)
    with pytest.raises(InputError, match="momentum must be at least 0 and below 1, got 1"):
        RunFacts(Poisson(RATE), 1, 0.1, 1.0, CLIP, momentum=1)
