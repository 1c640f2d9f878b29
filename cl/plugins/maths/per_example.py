"""Gradients of single examples for the price of a batch: what Fisher information and importances are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from cl.batches import Batch, Output
from cl.data.collate import collate
from cl.data.dataset import Dataset
from cl.models.network import Network
from cl.plugins.base import Tools
from cl.plugins.maths.algebra import (
    Tensors,
    add_to_rows,
    at_least_float32,
    parameters_of,
    set_rows,
    without_autocast,
    zeros_like,
)

Value = Callable[[Output], Tensor]
Add = Callable[[Tensor, Tensor], object]
BATCH_SIZE = 16
_shares_passes: WeakKeyDictionary[Network, bool] = WeakKeyDictionary()  # what a try has shown


class Call(NamedTuple):
    """A layer's input and output in a forward pass, or the loss's gradient in place of the output."""

    layer: nn.Module
    input: Tensor
    output: Tensor


def add_square(total: Tensor, gradient: Tensor) -> None:
    """Total += gradient²."""
    total.addcmul_(gradient, gradient)


def add_magnitude(total: Tensor, gradient: Tensor) -> None:
    """Total += |gradient|."""
    total.add_(gradient.abs())


def per_example(tools: Tools, data: Dataset, value: Value, add: Add) -> Tensors:
    """By trained parameter, the sum over `data`, of all ranks, of what `add` makes of one example's gradient.

    An example's gradient is that of the sum of `value(output)` `[N]` over its targets, in eval mode, without autocast.
    It is never that of a batch: squared batch means are 10 to 20 times too small and point elsewhere. A batch shares
    one pass, `by_layer`, unless the backbone uses parameters in ways that this does not separate by example; a try
    on two examples shows it, and then each gets a pass of its own, `by_pass`.
    """
    network = tools.network
    if network not in _shares_passes:
        both, *each = (_batch(tools, data[part]) for part in (slice(2), slice(1), slice(1, 2)) if len(data[part]))
        _shares_passes[network] = _alike(by_layer(network, [both], value, add), by_pass(network, each, value, add))
    if _shares_passes[network]:
        return tools.sum(by_layer(network, tools.batches_of(data, BATCH_SIZE), value, add))
    return tools.sum(by_pass(network, tools.batches_of(data, 1), value, add))


def by_pass(network: Network, examples: Iterable[Batch], value: Value, add: Add) -> Tensors:
    """One forward and backward pass for each of `examples`, batches of one: the plain definition."""
    parameters = parameters_of(network)
    totals = zeros_like(parameters)
    with _evaluating(network):
        for batch in examples:
            gradients = torch.autograd.grad(_total(network, batch, value), list(parameters.values()))
            for total, gradient in zip(totals.values(), gradients, strict=True):
                add(total, at_least_float32(gradient))
    return totals


def by_layer(network: Network, batches: Iterable[Batch], value: Value, add: Add) -> Tensors:
    """One pass a batch and no gradient of a parameter: each layer's inputs and output gradients hold it by example.

    Goodfellow, 2015: Efficient per-example gradient computations. A layer may be called several times in a pass.
    """
    parameters = parameters_of(network)
    totals = zeros_like(parameters)
    name_of = {id(p): name for name, p in parameters.items()}
    layers = {
        layer: {n: name_of[id(p)] for n, p in layer.named_parameters(recurse=False) if id(p) in name_of}
        for layer in network.modules()
    }
    with _evaluating(network), _frozen(network), network.backbone.padded():
        for batch in batches:
            with _watched([layer for layer, names in layers.items() if names], len(batch)) as calls:
                value_of_batch = _total(network, batch, value)
            outputs = [call.output for call in calls]
            gradients = torch.autograd.grad(value_of_batch, outputs, allow_unused=True, materialize_grads=True)
            calls = [call._replace(output=gradient) for call, gradient in zip(calls, gradients, strict=True)]
            rows = {network.head(kind): targets.rows for kind, targets in batch.targets.items()}
            for layer in dict.fromkeys(call.layer for call in calls):  # one after the other, to stay in the cache
                for i in range(len(batch)):
                    mine = (rows[layer] == i).nonzero().flatten() if layer in rows else slice(i, i + 1)
                    of_example = [Call(layer, x[mine], g[mine]) for _, x, g in (c for c in calls if c.layer is layer)]
                    _add(add, {n: totals[name] for n, name in layers[layer].items()}, of_example)
    return totals


def _batch(tools: Tools, data: Dataset) -> Batch:
    batch = collate(data, tools.experience.index, training=False)
    return batch.to(next(tools.network.parameters()).device)


def _add(add: Add, totals: Tensors, calls: Sequence[Call]) -> None:
    """Adds what `calls` of one layer for one example say about its parameters to `totals`, by parameter."""
    layer = calls[0].layer
    if isinstance(layer, nn.Embedding):
        ids, inverse = torch.unique(torch.cat([x.flatten() for _, x, _ in calls]), return_inverse=True)
        every = at_least_float32(torch.cat([g.flatten(0, -2) for *_, g in calls]))
        gradient = every.new_zeros(len(ids), every.shape[1])
        add_to_rows(gradient, inverse, every)
        if layer.padding_idx is not None:
            gradient[ids == layer.padding_idx] = 0.0
        total = totals["weight"][ids]
        add(total, gradient)
        set_rows(totals["weight"], ids, total)
        return
    of_calls = [_gradients(call, list(totals)) for call in calls]
    for name, total in totals.items():
        add(total, torch.stack([of_call[name] for of_call in of_calls]).sum(0) if len(calls) > 1 else of_calls[0][name])


def _gradients(call: Call, names: Sequence[str]) -> Tensors:
    """The gradients of a layer's parameters, from one call for one example."""
    layer, x, g = call
    if isinstance(layer, nn.Linear):
        x, g = (at_least_float32(t.flatten(0, -2)) for t in (x, g))
        return {"weight": g.T @ x, "bias": g.sum(0)}
    if isinstance(layer, nn.LayerNorm):
        normal = at_least_float32(layer_norm(x, layer.normalized_shape, eps=layer.eps)).flatten(0, -2)
        g = at_least_float32(g).flatten(0, -2)
        return {"weight": (g * normal).sum(0), "bias": g.sum(0)}
    parameters = {name: p.detach().requires_grad_() for name, p in layer.named_parameters() if name in names}
    output = torch.func.functional_call(layer, parameters, (x,))
    gradients = torch.autograd.grad(output, list(parameters.values()), g)
    return {name: at_least_float32(gradient) for name, gradient in zip(parameters, gradients, strict=True)}


def _total(network: Network, batch: Batch, value: Value) -> Tensor:
    with without_autocast(batch.row.device):
        outputs = network(batch)
    return torch.stack([value(output).sum() for output in outputs.values()]).sum()


def _alike(some: Tensors, others: Tensors) -> bool:
    """Whether they differ by rounding alone; a gradient that is all rounding error may differ as it likes."""
    norms = {name: float(other.norm()) for name, other in others.items()}
    floor = 1e-6 * max(norms.values())
    return all(float((some[name] - others[name]).norm()) <= 0.03 * norm + floor for name, norm in norms.items())


@contextmanager
def _evaluating(network: Network) -> Iterator[None]:
    was_training = network.training
    network.eval()
    yield
    network.train(was_training)


@contextmanager
def _frozen(network: Network) -> Iterator[None]:
    parameters = list(parameters_of(network).values())
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


@contextmanager
def _watched(layers: Iterable[nn.Module], num_examples: int) -> Iterator[list[Call]]:
    """Collects the calls of layers, each with an output that has a gradient, and a row of its own an example."""
    calls: list[Call] = []

    def note(layer: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any], output: Tensor) -> Tensor:
        if len(inputs) != 1 or options or not isinstance(output, Tensor):  # no function of one tensor: for `by_pass`
            return output
        x = inputs[0].detach()
        if isinstance(layer, nn.Embedding) and len(output) == 1:  # of positions: the same for all
            x, output = (t.expand(num_examples, *t.shape[1:]) for t in (x, output))
        if not output.requires_grad:
            output = output.detach().requires_grad_()
        calls.append(Call(layer, x, output))
        return output

    handles = [layer.register_forward_hook(note, with_kwargs=True) for layer in layers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
