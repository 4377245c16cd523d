#!/usr/bin/env bash
# albumentations 2.0.8 (torch 2.14.1, numpy 2.4.6): a Compose that a data set holds draws the same
# crops in every worker of a DataLoader, and the same ones again in every epoch.
#
# What an expert would expect: torch gives each worker a seed of its own and a new one each epoch,
# numpy's global generator is seeded from it by torch since 1.9, and torchvision's crops follow. What
# happens: Compose keeps generators of its own, which each worker gets as a copy and nobody reseeds.
# Crops are then neither independent of each other nor of the last epoch's, and privacy amplification
# by random cropping, which needs fresh crops, is not had. No warning is given.
#
# Output seen (origins of the crops, one number each):
#   0 workers, epoch 1: 2895 1207 1452 299 56 3413 1134 1158    (these differ from run to run)
#   0 workers, epoch 2: 2064 1541 3223 1816 71 2333 696 85
#   2 workers, epoch 1: 500 500 1285 1285 2375 2375 1393 1393
#   2 workers, epoch 2: 500 500 1285 1285 2375 2375 1393 1393
#
# Way out: worker_init_fn that calls compose.set_random_seed(torch.initial_seed() % 2**32).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet torch==2.14.1 albumentations==2.0.8 numpy==2.4.6
cd "$work"
NO_ALBUMENTATIONS_UPDATE=1 "$work/env/bin/python" -W ignore - <<'PY'
import albumentations as A
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

PLACES = np.arange(64 * 64, dtype=np.float32).reshape(64, 64, 1).repeat(3, 2)


class Crops(Dataset):
    def __init__(self):
        self.crop = A.Compose([A.RandomCrop(8, 8)])

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return float(self.crop(image=PLACES)["image"][0, 0, 0])


def epochs(workers, init=None):
    loader = DataLoader(Crops(), batch_size=1, num_workers=workers, worker_init_fn=init)
    found = [[int(batch[0]) for batch in loader] for _ in range(2)]
    for number, origins in enumerate(found, 1):
        print(f"{workers} workers, epoch {number}:", *origins)
    return found


def reseed(worker):
    crop = torch.utils.data.get_worker_info().dataset.crop
    crop.set_random_seed(torch.initial_seed() % 2**32)


if __name__ == "__main__":
    first, second = epochs(0)
    assert first != second, "without workers too: the behaviour changed"
    first, second = epochs(2)
    assert first == second, "epochs differ: the behaviour changed"
    assert first[::2] == first[1::2], "workers differ: the behaviour changed"
    print("with worker_init_fn")
    first, second = epochs(2, reseed)
    assert first != second and first[::2] != first[1::2], "the way out is none any more"
PY
