"""The kinds of adapters, by name. A kind says what its options are and how it gets into a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from torch import nn

from cl.models.adapters import bitfit, bottleneck, injected, virtual


@dataclass(frozen=True)
class Kind:
    """How adapters of one kind are made.

    `options`: the dataclass of its options, asked for only where it is used, since peft takes seconds to import;
    `short`: short names of fields; `hidden`: fields that are no options. `build(model, values, places)` puts it into a
    model, within the modules whose names begin so. `note(model, places)`: what to tell a user, or nothing. `prefix`:
    how the parts are called that take inputs of any precision; None where the model's own parameters train. `exports`:
    what a trained one can be written as: an adapter for peft, the whole model's weights, or nothing. `defaults`: values
    of fields that have none of their own; `has_layers`: whether it can be in some layers alone.
    """

    options: Callable[[], type]
    build: Callable[[nn.Module, dict[str, Any], list[str]], None]
    prefix: str | None
    short: dict[str, str] = field(default_factory=dict)
    hidden: Callable[[], frozenset[str]] = frozenset
    note: Callable[[nn.Module, list[str]], str] = lambda model, places: ""
    exports: Literal["adapter", "weights", "nothing"] = "nothing"
    defaults: dict[str, Any] = field(default_factory=dict)
    has_layers: bool = True


def _of_peft(name: str, prefix: str | None, **short: str) -> Kind:
    return Kind(
        partial(injected.options, name),
        partial(injected.build, name),
        prefix,
        {"target": "target_modules", **short},
        injected.hidden,
        exports="adapter",
    )


def _virtual(name: str) -> Kind:
    return Kind(
        partial(injected.options, name),
        partial(virtual.build, name),
        "virtual_",
        {"tokens": "num_virtual_tokens"},
        virtual.hidden,
        defaults={"num_virtual_tokens": 20},
        has_layers=False,
    )


KINDS: dict[str, Kind] = {
    "lora": _of_peft("LORA", "lora_", alpha="lora_alpha", dropout="lora_dropout"),
    "ia3": _of_peft("IA3", "ia3_"),
    "ln-tuning": _of_peft("LN_TUNING", None),
    "bitfit": Kind(lambda: bitfit.Options, bitfit.build, None, note=bitfit.note, exports="weights"),
    "bottleneck": Kind(lambda: bottleneck.Options, bottleneck.build, "bottleneck_"),
    "prompt": _virtual("PROMPT_TUNING"),
    "p-tuning": _virtual("P_TUNING"),
    "prefix": _virtual("PREFIX_TUNING"),
}
