"""Snapshots of a network: what has trained, by name. Weights that never trained are there by reference and by hash."""

from __future__ import annotations

import copy
import hashlib

from torch import Tensor

from cl.models.network import Network

Snapshot = dict[str, Tensor]
"""Parameters that train or have trained, and buffers, by name."""


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


def base_hash(network: Network) -> str:
    """A hash of the weights that never trained: what a snapshot stands upon. Empty where there are none.

    Without those that nothing depends on, such as a pooler's, which may be random.
    """
    content = hashlib.sha256()
    unused = {f"backbone.model.{name}" for name in network.backbone.facts.unused}
    base = {name: parameter for name, parameter in network.base().items() if name not in unused}
    for name, parameter in sorted(base.items()):
        content.update(name.encode())
        content.update(parameter.detach().cpu().contiguous().float().numpy().tobytes())
    return content.hexdigest()[:16] if base else ""


def frozen_copy(network: Network) -> Network:
    """The network as it stands, in eval mode and without gradients: a copy of what has trained, the rest by reference.

    A frozen backbone costs no memory here, however large it is.
    """
    twin = copy.deepcopy(network, {id(parameter): parameter for parameter in network.lend().values()})
    return twin.eval().requires_grad_(False)


def restored_copy(network: Network, state: Snapshot) -> Network:
    """A frozen copy of `network` set to an earlier snapshot, narrower heads and all."""
    twin = frozen_copy(network)
    for kind in [kind for kind in twin.heads if f"heads.{kind}.weight" not in state]:
        del twin.heads[kind]
    take_back(twin, state)
    return twin.requires_grad_(False)
