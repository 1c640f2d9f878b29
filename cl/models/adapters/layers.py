"""Parts of a model by name: its layers, the modules that can be adapted, and those that a configuration chooses."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from cl.models.backbone.layers import layers_of
from cl.system.words import did_you_mean, listed
from cl.types import UserError

Layers = int | str | list[int] | None
"""Which layers: all, one or the last few (negative), `4-7`, or these."""
FORMS = "give a number, a range such as 4-7, a list of numbers, or -6 for the last six"


def numbers_of(layers: Layers) -> Sequence[int]:
    """The numbers that are meant, or one negative number. Raises `UserError` for what is no such form."""
    if isinstance(layers, str) and (found := re.fullmatch(r"(\d+)\s*-\s*(\d+)", layers)):
        first, last = int(found[1]), int(found[2])
        if first <= last:
            return range(first, last + 1)
    elif isinstance(layers, list) and layers and all(type(n) is int and n >= 0 for n in layers):
        return layers
    elif type(layers) is int:
        return [layers]
    raise UserError(f"network.adapter.layers is {layers!r}: {FORMS}. The first layer is 0")


def places_of(model: nn.Module, layers: Layers) -> list[str]:
    """The names of the chosen layers, each with a dot at its end; `[""]` where all of the model is meant."""
    if layers is None:
        return [""]
    found, chosen = layers_of(model), numbers_of(layers)
    if not (count := len(found)):
        raise UserError(
            f"network.adapter.layers: {type(model).__name__} has no list of layers to choose from: leave it out"
        )
    if chosen[0] < 0:
        chosen = range(count + chosen[0], count)
    if chosen[0] < 0 or max(chosen) >= count:
        raise UserError(
            f"network.adapter.layers is {layers!r}: the backbone has {count} layers, 0 to {count - 1}; {FORMS}"
        )
    name = next(name for name, module in model.named_modules() if module is found)
    return [f"{name}.{number}." for number in chosen]


def linears(model: nn.Module) -> dict[str, nn.Module]:
    """Modules with a weight matrix, by name: those that `all-linear` means. (GPT-2 has a class of its own for them.)"""
    return {
        name: module
        for name, module in model.named_modules()
        if getattr(getattr(module, "weight", None), "ndim", 0) == 2 and not isinstance(module, nn.Embedding)
    }


def embeddings(model: nn.Module) -> dict[str, nn.Module]:
    """Tables of embeddings, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Embedding)}


def norms(model: nn.Module) -> dict[str, nn.Module]:
    """Layer norms of any kind, by name: modules with weights whose class is called a norm."""
    return {
        name: module
        for name, module in model.named_modules()
        if "norm" in type(module).__name__.lower() and isinstance(getattr(module, "weight", None), nn.Parameter)
    }


def chosen_of(modules: dict[str, nn.Module], asked: str | list[str], key: str, places: list[str]) -> list[str]:
    """The whole names of the modules that are asked for, within these places.

    `asked`: the end of a name, a regular expression of the whole of it, or several. Raises `UserError`, which lists the
    modules there are, for one that finds none.
    """
    inside = [name for name in modules if name.startswith(tuple(places))]
    found: dict[str, None] = {}
    for each in [asked] if isinstance(asked, str) else asked:
        mine = [name for name in inside if _is_meant(each, name, key)]
        if not mine:
            ends = dict.fromkeys(re.sub(r"^.*\.\d+\.", "", name) for name in inside)
            raise UserError(
                f"network.adapter.{key}: the backbone has no module {each!r} to adapt.{did_you_mean(each, ends)} "
                f"There are: {', '.join(ends) or 'none in these layers'}"
            )
        found |= dict.fromkeys(mine)
    if not found:
        raise UserError(f"network.adapter.{key}: names no module. There are: {listed(inside)}")
    return list(found)


def _is_meant(asked: str, name: str, key: str) -> bool:
    try:
        return name == asked or name.endswith(f".{asked}") or bool(re.fullmatch(asked, name))
    except re.error as error:
        raise UserError(f"network.adapter.{key} is {asked!r}: not a regular expression: {error}") from error
