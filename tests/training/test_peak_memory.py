import torch
from torch import nn

from cropaudit.training.peak_memory import PeakMemory


def test_views_and_operations_in_place_hold_nothing_new():
    before = torch.ones(1000)
    with PeakMemory() as memory:
        before.add_(1)
        before.view(10, 100)[0].mul_(2)
        assert memory.live == memory.peak == 0
        block = torch.ones(500)
        block.reshape(5, 100).t()
    assert memory.live == memory.peak == 2000
    del block
    assert memory.live == 0
    assert memory.peak == 2000


def test_what_a_graph_keeps_is_held_until_it_goes():
    values = torch.ones(1000, requires_grad=True)
    with PeakMemory() as memory:
        total = values.exp().sum()  # the graph keeps the exponentials
        assert memory.live == 4004
        total.backward()
        assert values.grad is not None
        gone = memory.live
        values.grad = None
    assert memory.peak >= 8004
    assert memory.live < gone


def test_the_peak_is_not_what_is_allocated_in_all():
    with PeakMemory() as memory:
        block = torch.zeros(256)
        for _ in range(50):
            block = block + 1
    assert memory.peak == 2 * 1024
    assert memory.live == 1024


def test_it_grows_by_the_same_amount_with_each_image():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    peaks = []
    for count in (1, 2, 3):
        with PeakMemory() as memory:
            network(torch.zeros(count, 3, 16, 16)).sum().backward()
        peaks.append(memory.peak)
        network.zero_grad()
    assert peaks[2] - peaks[1] == peaks[1] - peaks[0] > 0
