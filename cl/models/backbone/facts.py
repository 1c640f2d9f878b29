"""What a backbone is like, found out by trying it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from cl.models.backbone.encoder import Backbone

HALF = (torch.float16, torch.bfloat16)  # precisions in which small steps of training are lost


class Facts(NamedTuple):
    """What is found out about a model by trying it, once a run: `unused`, the names of parameters that no hidden state
    depends on; `first_position`, the number of an example's first position, None where batches cannot be packed;
    `is_causal`, whether the hidden state of a token ignores the tokens after it.
    """

    unused: frozenset[str]
    first_position: int | None
    is_causal: bool


def unused_parameters(backbone: Backbone) -> frozenset[str]:
    """The names of those of the model's trainable parameters that the last hidden state does not depend on.

    They are those that the graph of a pass does not lead to: no backward pass, no memory for gradients.
    """
    ids = tokens(backbone, 3)
    with trying(backbone), torch.enable_grad():
        waiting = [backbone(ids, torch.ones_like(ids)).grad_fn]
    found, seen = set(), set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        found.add(id(getattr(node, "variable", None)))
        waiting += [following for following, _ in node.next_functions]
    return frozenset(name for name, p in backbone.model.named_parameters() if p.requires_grad and id(p) not in found)


def ignores_later_tokens(backbone: Backbone) -> bool:
    """Whether the hidden state of a token does not depend on the tokens after it: whether its gradient is 0 there, to
    the last bit. Values would differ by rounding, which in some families is as large as what a later token does.
    """
    ids, embedded = tokens(backbone, 3), list[Tensor]()

    def note(module: object, inputs: object, output: Any) -> Any:
        whole = output if isinstance(output, tuple) else (output,)  # I-BERT's hand on a scale as well
        embedded.append(whole[0].detach().requires_grad_())
        return (embedded[-1], *whole[1:]) if isinstance(output, tuple) else embedded[-1]

    handle = backbone.model.get_input_embeddings().register_forward_hook(note)
    try:
        with trying(backbone), torch.enable_grad():
            first = backbone(ids, torch.ones_like(ids))[0, 0].float()
            weights = torch.linspace(-1, 1, len(first), device=first.device)  # the plain sum of a normalised state is 0
            (slope,) = torch.autograd.grad(first @ weights, embedded[-1:])
    finally:
        handle.remove()
    return not slope[0, 1:].any()


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether hidden states are the same but for rounding, which is of the size of the greatest of them: some families
    have states of 50, and others near 0 beside them.
    """
    tolerance = max(1e-4, 4 * torch.finfo(one.dtype).eps)
    return bool((one - other).abs().max() <= tolerance * one.abs().max())


def tokens(backbone: Backbone, num: int) -> Tensor:
    """A text of so many different tokens, `[1, num]`, on the backbone's device."""
    size: int = backbone.model.config.vocab_size
    return (1 + torch.arange(num, device=next(backbone.parameters()).device)[None]) % size


@contextmanager
def trying(backbone: Backbone) -> Iterator[None]:
    """In eval mode, without gradients, and no number drawn from the generators of a run."""
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        backbone.train(was_training)
