"""The layers of a backbone one by one: what enters one of them, and what comes out of the last if one is given that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

Pass = Callable[[], Tensor]
"""A forward pass of the model that the layers are of."""


class _Reached(Exception):
    """A pass came to the layer that it was asked for, with these hidden states."""

    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden


def layers_of(model: Any) -> Sequence[nn.Module]:
    """The transformer layers of a model, first to last; none where the model does not keep them in one list."""
    num = getattr(model.config, "num_hidden_layers", 0)
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == num]
    return lists[0] if len(lists) == 1 else ()  # type: ignore[return-value]


def inputs_of(layers: Sequence[nn.Module], run: Pass) -> list[Tensor]:
    """The hidden states that enter each layer in a pass."""
    seen: list[Tensor] = []
    handles = [layer.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for layer in layers]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return seen


def below(layer: nn.Module, run: Pass) -> Tensor:
    """The hidden states that enter a layer in a pass, which ends there."""

    def stop(_: nn.Module, given: tuple[Any, ...]) -> None:
        raise _Reached(given[0])

    handle = layer.register_forward_pre_hook(stop)
    try:
        run()
    except _Reached as reached:
        return reached.hidden
    finally:
        handle.remove()
    raise RuntimeError("the pass did not come to the layer")


def above(layers: Sequence[nn.Module], first: int, hidden: Tensor, run: Pass) -> Tensor:
    """What a pass gives if these hidden states enter layer `first`, not 0; those before it compute nothing.

    The layer before hands them on. A hook on `first` itself would be gone when checkpointed layers are computed anew.
    """
    with _giving(hidden, layers[:first]):
        return run()


@contextmanager
def _giving(hidden: Tensor, layers: Sequence[nn.Module]) -> Iterator[None]:
    for layer in layers:
        layer.forward = lambda *_, **__: hidden
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
