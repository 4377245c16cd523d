"""The probe of loaders, on real loaders of torch and Opacus, run in this process."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from opacus.optimizers import DPOptimizer
from opacus.utils.batch_memory_manager import BatchMemoryManager
from torch.utils.data import DataLoader

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.checks import batch_law
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.faults.loader_parts import BATCH, Cropped, Endless
from cropaudit.audit.conformance.probes.batch_items import items_of
from cropaudit.audit.conformance.probes.datasets import CodedImages
from cropaudit.audit.conformance.probes.loader import probe_loader
from cropaudit.audit.conformance.seen import Seen
from cropaudit.audit.conformance.subjects import Subjects
from cropaudit.audit.conformance.worker.guard import Guard, UserError

SIZE = Size(48, 64)
CLAIMED = Claimed(image=SIZE, records=64, batch=8)
SUBJECTS = Subjects(loader="any.py:any", epochs=2, quick=True)


def probe(made, claimed: Claimed = CLAIMED, subjects: Subjects = SUBJECTS):
    return probe_loader(made, Guard("loader", None, lambda: None), subjects, claimed)


def test_records_and_workers_are_those_of_the_loader() -> None:
    batches, draws = probe(lambda data: DataLoader(Cropped(data), batch_size=8, num_workers=2))
    assert batches.record[:64].tolist() == list(range(64))
    assert batches.step[:17].tolist() == [0] * 8 + [1] * 8 + [2]
    assert (batches.epoch_steps == 8).all()
    assert draws.record.tolist() == batches.record.tolist()
    assert draws.worker[:64].tolist() == [b % 2 for b in range(8) for _ in range(8)]
    assert draws.label_aligned.all()
    assert draws.slot[:9].tolist() == [*range(8), 0]


def test_pieces_of_a_batch_are_one_batch() -> None:
    model = torch.nn.Linear(1, 1)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer = DPOptimizer(sgd, noise_multiplier=1.0, max_grad_norm=1.0, expected_batch_size=8)

    def make(dataset, workers: int = 0):
        plain = DataLoader(Cropped(dataset), batch_size=8, num_workers=workers)
        return BatchMemoryManager(data_loader=plain, max_physical_batch_size=3, optimizer=optimizer)

    for made in (make, lambda dataset: make(dataset, 2)):
        batches, draws = probe(made)
        assert (batches.epoch_steps == 8).all()
        assert batches.step[:17].tolist() == [0] * 8 + [1] * 8 + [2]
        assert draws.step[:9].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3]


def test_loaders_without_our_data_show_their_indices() -> None:
    data = torch.arange(40)
    loader = DataLoader(data, batch_size=4, shuffle=True)
    for made in (loader, lambda: loader):
        batches, draws = probe(made)
        assert (batches.records, batches.ours, len(draws)) == (40, False, 0)
        assert np.bincount(batches.record[:40]).tolist() == [1] * 40


def test_records_of_masks_that_do_not_come_along_are_known_without_workers() -> None:
    class Blind(Cropped):
        def __getitem__(self, index):
            return super().__getitem__(index)[0]

    batches, draws = probe(lambda data: DataLoader(Blind(data), batch_size=8))
    assert batches.record[:64].tolist() == list(range(64))
    assert draws.decoded.all()
    assert not draws.label_decoded.any()
    hidden, _ = probe(lambda data: DataLoader(Blind(data), batch_size=8, num_workers=1))
    assert (len(hidden.record), hidden.unread) == (0, 128)


def test_endless_loaders_end_and_their_passes_are_epochs() -> None:
    batches, _ = probe(lambda data: Endless(DataLoader(Cropped(data), batch_size=8)))
    assert (batches.endless, batches.whole, batches.cut) == (True, False, False)
    assert batches.epoch_steps[:-1].tolist() == [8] * batches.whole_epochs
    assert batches.whole_epochs >= 10
    short, _ = probe(lambda data: Endless(DataLoader(Cropped(data), batch_size=10, drop_last=True)))
    assert set(short.epoch_steps[:-1].tolist()) == {6}


def test_a_loader_that_takes_forever_is_told_as_too_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cropaudit.audit.conformance.probes.loader._SECONDS", 0.0)
    batches, _ = probe(lambda data: DataLoader(Cropped(data), batch_size=8))
    assert (batches.cut, batches.steps) == (True, 1)
    two = replace(batches, record=np.arange(16), step=np.arange(16) // 8, epoch_steps=np.array([2]))
    found = batch_law.check(Seen(batches=two), CLAIMED)
    assert "was stopped after 2 batches" in found.undecided


@pytest.mark.parametrize(
    ("made", "kind", "words"),
    [
        (lambda data: 3, "type", "iterable of batches, got int"),
        (lambda data: [("a", "b")], "type", "images of three channels"),
        (lambda data: 1 / 0, "raised", "ZeroDivisionError"),
        (lambda: 3, "type", "must be a DataLoader"),
        (lambda data: (1 / 0 for _ in range(3)), "raised", "ZeroDivisionError"),
    ],
)
def test_wrong_types_and_errors_are_told(made, kind: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        probe(made)
    assert caught.value.trouble.kind == kind


def _image(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.uint8)


def _mask(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.int64)


@pytest.mark.parametrize(
    ("batch", "items"),
    [
        ((_image(2, 3, 5, 6), _mask(2, 5, 6)), 2),
        ((_image(3, 3, 5, 6), _mask(3, 5, 6)), 3),
        ([_image(2, 5, 6, 3), _mask(2, 1, 5, 6)], 2),
        ({"image": _image(2, 3, 5, 6), "mask": _mask(2, 5, 6), "id": torch.arange(2)}, 2),
        ((_image(2, 4, 3, 5, 6), _mask(2, 4, 5, 6)), 8),
        ([(_image(3, 5, 6), _mask(5, 6)), (_image(3, 5, 6), _mask(5, 6))], 2),
        (([_image(3, 5, 6)] * 3, [_mask(5, 6)] * 3), 3),
        ((_image(2, 3, 5, 6).numpy(), _mask(2, 5, 6).numpy()), 2),
        ((_image(2, 3, 5, 6).to(torch.bfloat16), _mask(2, 5, 6)), 2),
        ([], 0),
        ((_image(0, 3, 5, 6), _mask(0, 5, 6)), 0),
        ([_image(0), _mask(0)], 0),
    ],
)
def test_items_of_all_kinds_of_batches(batch, items: int) -> None:
    found = items_of(batch)
    assert found is not None
    assert len(found) == items
    for image, mask in found:
        assert image.shape == (5, 6, 3)
        assert mask is not None
        assert mask.shape == (5, 6)


def test_no_items_of_what_is_no_batch() -> None:
    assert items_of(("a", 3)) is None
    assert items_of(torch.zeros(4)) is None
    assert items_of(object()) is None


def test_the_data_set_stands_many_records_and_plain_loops() -> None:
    data = CodedImages(SIZE, BATCH)
    assert len([mask for _, mask in data]) == BATCH
    assert int(data[-1][1].max()) == int(data[BATCH - 1][1].max())
    many = CodedImages(Size(1024, 2048), 5000)
    assert int(many[4999][1].min()) > 2**31
