"""A plugin's state as tensors and plain values, and back: what is packed says itself what it was."""

from __future__ import annotations

import sys
from dataclasses import fields, is_dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from cl.models.network import Network
from cl.models.snapshot import restored_copy, snapshot

WHAT, VALUE = "packed as", "value"
PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size})


def packed(value: Any) -> Any:
    """A value as tensors and plain values. Raises `TypeError` for what would not come back as it was."""
    if isinstance(value, Tensor) or type(value) in PLAIN:
        return value
    if type(value) is list:
        return [packed(one) for one in value]
    if type(value) is tuple:
        return tuple(packed(one) for one in value)
    if type(value) is dict:
        plain = {_key(key): packed(of_key) for key, of_key in value.items()}
        return _tagged("dict", plain) if WHAT in plain else plain
    if isinstance(value, Network):
        return _tagged("network", snapshot(value))
    if is_dataclass(value) and not isinstance(value, type):
        return _tagged(_path(type(value)), {f.name: packed(getattr(value, f.name)) for f in fields(value)})
    raise TypeError(
        f"a {type(value).__name__} cannot be saved: state is made of tensors, plain values, dicts, lists and tuples of "
        "them, dataclasses at the top of a module, and networks"
    )


def unpacked(value: Any, network: Network) -> Any:
    """What was packed; networks are frozen copies of `network` with their own state."""
    if type(value) is list:
        return [unpacked(one, network) for one in value]
    if type(value) is tuple:
        return tuple(unpacked(one, network) for one in value)
    if not isinstance(value, dict):
        return value
    if WHAT not in value:
        return {key: unpacked(of_key, network) for key, of_key in value.items()}
    what, content = value[WHAT], value[VALUE]
    if what == "network":
        return restored_copy(network, content)
    content = {key: unpacked(of_key, network) for key, of_key in content.items()}
    return content if what == "dict" else _made(_found(what), content)


def _tagged(what: str, value: Any) -> dict[str, Any]:
    return {WHAT: what, VALUE: value}


def _key(key: Any) -> Any:
    if type(key) in PLAIN or (type(key) is tuple and all(type(one) in PLAIN for one in key)):
        return key
    raise TypeError(f"a dict with the key {key!r} cannot be saved: keys are plain values, or tuples of them")


def _path(cls: type) -> str:
    path = f"{cls.__module__}:{cls.__qualname__}"
    try:
        found = _found(path)
    except LookupError:
        found = None
    if found is not cls:
        raise TypeError(f"{cls.__qualname__} cannot be saved: it must stand at the top of a module")
    return path


def _found(path: str) -> Any:
    """A dataclass of a module that is there already: a checkpoint imports nothing."""
    module, _, name = path.partition(":")
    try:
        found = reduce(getattr, name.split("."), sys.modules[module])
    except (KeyError, AttributeError):
        found = None
    if not (isinstance(found, type) and is_dataclass(found)):
        raise LookupError(f"the checkpoint holds a {path}, and there is no such dataclass")
    return found


def _made(cls: type, values: dict[str, Any]) -> Any:
    made = cls(**{f.name: values[f.name] for f in fields(cls) if f.init})
    for f in fields(cls):  # all of them: `__post_init__` may have changed what was given
        object.__setattr__(made, f.name, values[f.name])
    return made
