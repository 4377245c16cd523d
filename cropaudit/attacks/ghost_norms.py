"""Every image's gradient norm, and its projection on one direction, in one backward pass.

Hooks keep what each layer took, and meet the gradient of the summed losses by what it gave, which
holds every image's own as long as no layer mixes images. From both come the layer's terms (see
`layer_terms`), at once, and no parameter's gradient is ever taken. Parameters that this cannot read
- of layers it does not know, shared between modules, or used where the first axis does not count
the images - are differentiated by vmap, a few images at a time: slow, and exact.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from cropaudit.attacks.double_sums import inner, squares
from cropaudit.attacks.layer_terms import Call, Terms, layer_terms, readable
from cropaudit.errors import require
from cropaudit.training.losses import pixel_losses

__all__ = ["ghost_terms"]

_ENTRIES = 2**23  # of gradients held by vmap at once; never less than one image's


def ghost_terms(
    model: nn.Module, images: Tensor, masks: Tensor, directions: Mapping[str, Tensor]
) -> Terms:
    """Returns the squared norm and the projection of each image's gradient.

    Args:
        model: Maps images (N, 3, H, W) to logits; its gradients and parameters are left alone.
        images: Scaled, shape (N, 3, h, w), N at least 1.
        masks: Integers, shape (N, h, w).
        directions: Y for every trainable parameter, by name, in the parameters' shapes.

    Returns:
        Float64, each of shape (N,): |grad l_i|^2 and <grad l_i, Y> over those parameters.

    Raises:
        InputError: If a layer mixes the images of a batch.
    """
    _check(model)
    owners = _owners(model, directions)
    zeros = torch.zeros(len(images), dtype=torch.float64, device=images.device)
    pass_ = _Pass(len(images), directions, owners, Terms(zeros, zeros))
    fixed = {name: p.detach() for name, p in model.named_parameters()}
    with torch.enable_grad(), pass_.listening():
        losses = pixel_losses(functional_call(model, fixed, (images,)), masks)
        if pass_.leaves:
            torch.autograd.grad(losses.sum(), pass_.leaves, allow_unused=True)
    pass_.finish()
    read = {name for m in owners if m not in pass_.declined for name in owners[m].values()}
    left = {name: y for name, y in directions.items() if name not in read}
    return pass_.total + _by_vmap(model, images, masks, left) if left else pass_.total


def _check(model: nn.Module) -> None:
    mixing = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
    ]
    legal = "a model whose batch normalisation is in evaluation mode"
    require(not mixing, "model", legal, ", ".join(mixing[:3]))


def _owners(model: nn.Module, directions: Mapping[str, Tensor]) -> dict[nn.Module, dict[str, str]]:
    """Returns the layers that can be read, and of each its parameters' full names by short ones."""
    uses: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            uses[id(parameter)] = uses.get(id(parameter), 0) + 1
    found = {}
    for prefix, module in model.named_modules():
        own = {
            short: f"{prefix}.{short}" if prefix else short
            for short, parameter in module.named_parameters(recurse=False)
            if parameter.requires_grad
        }
        shared = any(uses[id(p)] > 1 for p in module.parameters(recurse=False))
        if readable(module) and not shared and set(own.values()) & set(directions):
            found[module] = own
    return found


@dataclass(eq=False)
class _Pass:
    """One forward and backward pass, listened to.

    Attributes:
        count: N.
        directions: Y by full name.
        owners: Layers to listen to.
        total: The terms so far.
        heard: Of each layer, what it took and, once known, the gradient of what it gave.
        declined: Layers that turned out not to be readable.
        leaves: Where the graph begins: what the first layers gave. No weight is differentiated.
    """

    count: int
    directions: Mapping[str, Tensor]
    owners: dict[nn.Module, dict[str, str]]
    total: Terms
    heard: dict[nn.Module, list[tuple[Tensor, Tensor | None]]] = field(default_factory=dict)
    declined: set[nn.Module] = field(default_factory=set)
    leaves: list[Tensor] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Keeps the hooks for as long as the block runs."""
        handles = [module.register_forward_hook(self._forward) for module in self.owners]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def finish(self) -> None:
        """Adds the layers of which some call does not reach the loss: there it adds nothing."""
        for module in list(self.heard):
            self._read(module)

    def _forward(self, module: nn.Module, given: tuple[Any, ...], output: Any) -> Tensor | None:
        dims = 2 if isinstance(module, nn.Linear) else 4
        if len(given) != 1 or given[0].dim() < dims or len(given[0]) != self.count:
            self.declined.add(module)
            return None
        if not output.requires_grad:
            self.leaves.append(output.detach().requires_grad_())
            output = self.leaves[-1].clone()  # a leaf could not be changed in place
        calls = self.heard.setdefault(module, [])
        calls.append((given[0].detach(), None))
        output.register_hook(self._backward(module, len(calls) - 1))
        kept: Tensor = output
        return kept

    def _backward(self, module: nn.Module, number: int) -> Callable[[Tensor], None]:
        def met(gradient: Tensor) -> None:
            calls = self.heard[module]
            calls[number] = (calls[number][0], gradient.detach())
            if all(later is not None for _, later in calls):
                self._read(module)

        return met

    def _read(self, module: nn.Module) -> None:
        """Adds one layer's terms, and lets go of what was kept for it."""
        calls = [Call(given, late) for given, late in self.heard.pop(module) if late is not None]
        if module in self.declined or not calls:
            return
        own = {short: self.directions[name] for short, name in self.owners[module].items()}
        with torch.no_grad():
            for terms in layer_terms(module, calls, own):
                self.total += terms


def _by_vmap(
    model: nn.Module, images: Tensor, masks: Tensor, directions: Mapping[str, Tensor]
) -> Terms:
    """Returns the terms of these parameters from their gradients, a few images at a time."""
    every = {name: p.detach() for name, p in model.named_parameters()}
    fixed = {name: p for name, p in every.items() if name not in directions}

    def loss(parameters: dict[str, Tensor], image: Tensor, mask: Tensor) -> Tensor:
        logits = functional_call(model, {**parameters, **fixed}, (image[None],))
        return pixel_losses(logits, mask[None])[0]

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    wanted = {name: every[name] for name in directions}
    flat = torch.cat([y.flatten() for y in directions.values()])
    step = max(1, _ENTRIES // flat.numel())
    lengths, dots = [], []
    for start in range(0, len(images), step):
        piece = slice(start, start + step)
        taken = each(wanted, images[piece], masks[piece])
        gradients = torch.cat([taken[name].flatten(1) for name in directions], dim=1)
        lengths.append(squares(gradients))
        dots.append(inner(gradients, flat[None])[:, 0])
    return Terms(torch.cat(lengths), torch.cat(dots))
