#!/usr/bin/env bash
# opacus 1.6.0 (torch 2.14.1): the per-sample gradients of Conv2d are wrong where its input is stored
# channels_last, the layout that torch's own guides advise for convolutions.
#
# What an expert would expect: the memory format of a tensor changes speed and never values; p.grad is
# indeed the same. What happens: grad_sample, which Opacus clips, differs from the gradient of each
# image alone by 0.91 of its norm, and its norms are 0.64 to 0.72 of the true ones. Clipping to C then
# leaves more than C, and no error or warning is given.
#
# Output seen:
#   contiguous     grad_sample off by 0.00, p.grad off by 0.00, norms 1.000 1.000 1.000
#   channels_last  grad_sample off by 0.91, p.grad off by 0.00, norms 0.722 0.643 0.686
#
# Way out: x.contiguous() before every convolution, or grad_sample_mode="ew".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet torch==2.14.1 opacus==1.6.0
cd "$work"
"$work/env/bin/python" -W ignore - <<'PY'
import torch
from opacus import GradSampleModule


def net():
    torch.manual_seed(1)
    layers = torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.Tanh(), torch.nn.Conv2d(4, 3, 3)
    return torch.nn.Sequential(*layers).double()


def alone(image):
    model = net()
    model(image[None]).pow(2).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def together(images):
    model = GradSampleModule(net())
    model(images).pow(2).flatten(1).sum(1).mean().backward()
    samples = torch.cat([p.grad_sample.flatten(1) for p in model.parameters()], 1)
    return samples, torch.cat([p.grad.flatten() for p in model.parameters()])


torch.manual_seed(0)
images = torch.randn(3, 2, 9, 11, dtype=torch.float64)
want = torch.stack([alone(image) for image in images])
off = {}
for name, given in (
    ("contiguous", images),
    ("channels_last", images.to(memory_format=torch.channels_last)),
):
    samples, mean = together(given)
    off[name] = float((samples - want).norm() / want.norm())
    of_mean = float((mean - want.mean(0)).norm() / want.mean(0).norm())
    norms = " ".join(f"{float(a.norm() / b.norm()):.3f}" for a, b in zip(samples, want))
    print(f"{name:14} grad_sample off by {off[name]:.2f}, p.grad off by {of_mean:.2f}, norms {norms}")
    assert of_mean < 1e-9, "p.grad is wrong too: the behaviour changed"
assert off["contiguous"] < 1e-9, "wrong for contiguous input as well: the behaviour changed"
assert off["channels_last"] > 0.5, "right for channels_last: the behaviour changed"
PY
