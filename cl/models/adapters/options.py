"""`network.adapter` of a configuration: a kind and its options, each checked by the type of its field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import EnumType
from math import inf
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from torch import nn

from cl.models.adapters.kinds import KINDS, Kind
from cl.models.adapters.layers import Layers, numbers_of, places_of
from cl.system.words import one_of, quoted
from cl.types import UserError

WHERE = "network.adapter"
# The least and the greatest that numbers may be, by their names in a configuration.
RANGES = {
    "r": (1, inf),
    "alpha": (1, inf),
    "dropout": (0, 1),
    "size": (1, inf),
    "tokens": (1, inf),
    "encoder_hidden_size": (1, inf),
    "encoder_num_layers": (1, inf),
    "encoder_dropout": (0, 1),
}
WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    dict: "a mapping",
    NoneType: "null",
}


@dataclass(frozen=True)
class Adapter:
    """What a configuration asks for: a kind, the fields of its options that are given, and the layers."""

    kind: Kind
    values: dict[str, Any]
    layers: Layers

    def build(self, model: nn.Module) -> None:
        """Puts it into a model whose parameters are frozen; its own train. Draws from torch's global generator."""
        self.kind.build(model, self.values, places_of(model, self.layers))

    @property
    def num_virtual(self) -> int:
        """How many virtual tokens it puts before each text."""
        return int(self.values.get("num_virtual_tokens", 0))

    def notes(self, model: nn.Module) -> list[str]:
        """What a user should hear of it on this model."""
        note = self.kind.note(model, places_of(model, self.layers))
        return [note] if note else []


def read(options: Mapping[str, Any]) -> Adapter:
    """The adapter of these options. Raises `UserError` for a kind or an option that is not there, or a wrong value."""
    given = dict(options)
    name = given.pop("kind", None)
    if not isinstance(name, str) or name not in KINDS:
        what = "kind is missing" if name is None else f"there is no kind {quoted(name)} of adapter"
        raise UserError(f"{WHERE}: {what}.{_variant(name) or one_of(name, KINDS)}")
    kind, known = KINDS[name], dict(_known(KINDS[name]))
    layers = given.pop("layers", None) if kind.has_layers else None
    if layers is not None:
        numbers_of(layers)
    names = [*known, "layers"] if kind.has_layers else list(known)
    for key, value in given.items():
        if key not in known:
            hint = f" Write {short[key]!r}." if (short := _short(kind)).get(key) else one_of(key, names)
            raise UserError(f"{WHERE}: {name} has no option {key!r}.{hint}")
        _check(key, value, known[key][1])
    return Adapter(kind, kind.defaults | {known[key][0]: value for key, value in given.items()}, layers)


def _known(kind: Kind) -> Iterator[tuple[str, tuple[str, Any]]]:
    """Names in a configuration, each with its field and type."""
    cls = kind.options()
    hints, short = get_type_hints(cls), _short(kind)
    for f in fields(cls):
        if f.name not in kind.hidden() and not _holds_a_config(hints[f.name]):
            yield short.get(f.name, f.name), (f.name, _narrow(hints[f.name]))


def _narrow(hint: Any) -> Any:
    """Where peft has a list of words and takes any text besides, which it passes over: the words alone."""
    words: list[Any] = [each for each in get_args(hint) if isinstance(each, EnumType)]
    return Literal[tuple(word.value for word in words[0])] if words and str in get_args(hint) else hint


def _short(kind: Kind) -> dict[str, str]:
    return {field: name for name, field in kind.short.items()}


def _check(key: str, value: Any, hint: Any) -> None:
    try:
        TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError:
        raise UserError(f"{WHERE}.{key} is {quoted(value)}: give {wanted(hint)}") from None
    least, most = RANGES.get(key, (-inf, inf))
    if isinstance(value, int | float) and not least <= value <= most:
        raise UserError(f"{WHERE}.{key} is {value}: give {least} {'or more' if most == inf else f'to {most}'}")


def wanted(hint: Any) -> str:
    """A type in words: `a whole number or null`."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(wanted(each) for each in get_args(hint))
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) is list:
        return f"a list, each {wanted(get_args(hint)[0])}"
    return WORDS.get(get_origin(hint) or hint, str(hint))


def _holds_a_config(hint: Any) -> bool:
    """Whether it is a configuration of peft's own: these need its training loop, or data before it."""
    return hasattr(hint, "__dataclass_fields__") or any(map(_holds_a_config, get_args(hint)))


def _variant(name: object) -> str:
    """A hint at a kind that is an option of lora."""
    options = dict(_known(KINDS["lora"]))
    return f" Write {{kind: lora, use_{name}: true}}." if f"use_{name}" in options else ""
