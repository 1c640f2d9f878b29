"""Snapshots of a network: what has trained, by name. Weights that never trained are there by reference and by hash."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

from cl.models.backbone import Backbone
from cl.models.network import Network

Snapshot = dict[str, Tensor]
"""Parameters that train or have trained, and buffers, by name."""
_copies: WeakKeyDictionary[Network, WeakSet[Network]] = WeakKeyDictionary()


def snapshot(network: Network) -> Snapshot:
    """The network's own tensors, not copies: whoever keeps them while it trains must copy them."""
    base = network.base()
    return {name: tensor for name, tensor in network.state_dict().items() if name not in base}


def take_back(network: Network, state: Snapshot) -> None:
    """Sets the network to a snapshot of it: the rest never changed. Heads get the width that they had.

    Raises `KeyError` for a snapshot of another network, or one that lacks what has trained.
    """
    base = network.base()
    found = network.load_state_dict(state, strict=False)
    if wrong := [*found.unexpected_keys, *(name for name in found.missing_keys if name not in base)]:
        raise KeyError(f"this is no snapshot of this network: {', '.join(wrong[:3])}")


def hashes(network: Network, names: Iterable[str]) -> dict[str, str]:
    """A hash of each of these weights: of the base, what a snapshot stands upon."""
    found = {}
    for name in names:
        content = network.get_parameter(name).detach().cpu().flatten().view(torch.uint8).numpy()
        found[name] = hashlib.sha256(content.data).hexdigest()[:16]
    return found


def base_names(network: Network) -> list[str]:
    """The names of the base, without weights that nothing depends on, such as a pooler's, which may be random."""
    unused = {f"backbone.model.{name}" for name in network.backbone.facts.unused}
    return [name for name in network.base() if name not in unused]


def frozen_copy(network: Network) -> Network:
    """The network as it stands, in eval mode and without gradients: a copy of what has trained, the rest by reference.

    A frozen backbone costs no memory here, however large it is.
    """
    twin = copy.deepcopy(network, {id(parameter): parameter for parameter in network.base().values()})
    twin.is_copy = True
    _copies.setdefault(network, WeakSet()).add(twin)
    return twin.eval().requires_grad_(False)


def same_structure(backbone: Backbone, memory: Callable[[Tensor], Tensor]) -> Backbone:
    """The same structure, parameter objects of its own, and as their numbers what `memory` makes of each: itself, for
    none of its own. Quantised parameters hold more than their numbers, and are taken as they are.
    """
    memo: dict[int, object] = {id(buffer): memory(buffer) for buffer in backbone.buffers()}
    for p in backbone.parameters():
        memo[id(p)] = nn.Parameter(memory(p.data), requires_grad=p.requires_grad) if type(p) is nn.Parameter else p
    return copy.deepcopy(backbone, memo)


def settle(network: Network) -> None:
    """Notes what trains from now on. Copies that had such weights by reference get their own, as they are now."""
    for name in network.note_what_trains():
        parameter = network.get_parameter(name)
        owner, _, own_name = name.rpartition(".")
        for twin in _copies.get(network, ()):
            if dict(twin.named_parameters()).get(name) is parameter:
                own = nn.Parameter(parameter.detach().clone(), requires_grad=False)
                setattr(twin.get_submodule(owner), own_name, own)


def restored_copy(network: Network, state: Snapshot) -> Network:
    """A frozen copy of `network` set to an earlier snapshot, narrower heads and all."""
    twin = frozen_copy(network)
    for kind in [kind for kind in twin.heads if f"heads.{kind}.weight" not in state]:
        del twin.heads[kind]
    twin.trained = twin.trained & state.keys()  # what has begun to train since is here as it was loaded
    take_back(twin, state)
    return twin.requires_grad_(False)
