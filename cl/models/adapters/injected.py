"""Adapters that peft knows, put into a model in place."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from torch import nn

from cl.models.adapters.layers import chosen_of, embeddings, linears, norms
from cl.models.backbone.facts import HALF
from cl.system.words import one_of
from cl.types import UserError

ALL_LINEAR = "all-linear"
# Our own words for these are `layers` and `target`; the others need peft's own models around ours.
NOT_OURS = (
    "layers_to_transform",
    "layers_pattern",
    "layer_replication",
    "exclude_modules",
    "target_parameters",
    "megatron_config",
    "megatron_core",
    "alora_invocation_tokens",
)
# What rewrites the backbone's own weights, which all cells share.
REWRITES = ("olora",)
NEEDS_DATA = ("eva", "corda", "lora_ga", "loftq")  # initial values that peft takes from data or a quantised model


def options(name: str) -> type:
    """The configuration class of one of peft's methods."""
    from peft import PeftType
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    found: type = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(name)]
    return found


def hidden() -> frozenset[str]:
    """Fields that say nothing about an adapter, or that are not a user's to set."""
    from peft import PeftConfig

    return frozenset([*(f.name for f in fields(PeftConfig)), *NOT_OURS])


def build(name: str, model: nn.Module, values: dict[str, Any], places: list[str]) -> None:
    """Puts the adapter into the model and freezes all else. Raises `UserError` for what peft refuses."""
    from peft import inject_adapter_in_model

    modules = norms(model) if name == "LN_TUNING" else linears(model)
    named = dict(values)
    if (init := named.get("init_lora_weights")) in NEEDS_DATA:
        raise UserError(f"network.adapter.init_lora_weights is {init!r}: it needs data beforehand. Take another one")
    if init in REWRITES:
        raise UserError(
            f"network.adapter.init_lora_weights is {init!r}: it rewrites the backbone's own weights, which all cells "
            "share. Take another one"
        )
    asked = _default(name, model) if named.get("target_modules") is None else named["target_modules"]
    everything = modules if name == "LN_TUNING" else modules | embeddings(model)
    named["target_modules"] = (
        chosen_of(modules, ".*", "target", places)
        if asked == ALL_LINEAR
        else chosen_of(everything, asked, "target", places)
    )
    if name == "IA3":
        named["feedforward_modules"] = _feedforward(model, named)
    if "fan_in_fan_out" in {f.name for f in fields(options(name))}:  # GPT-2 stores its matrices transposed
        transposed = any(type(modules.get(each)).__name__ == "Conv1D" for each in named["target_modules"])
        named.setdefault("fan_in_fan_out", transposed)
    _refuse_unknown(model, named.get("modules_to_save") or [])
    if named.get("modules_to_save") and places != [""]:
        raise UserError(
            "network.adapter.modules_to_save trains modules in all layers, and network.adapter.layers names some: "
            "leave one of them out"
        )
    for key in ("rank_pattern", "alpha_pattern"):
        for each in named.get(key) or ():
            chosen_of({name: modules[name] for name in named["target_modules"] if name in modules}, each, key, [""])
    if named.get("modules_to_save") and next(model.parameters()).dtype in HALF:
        raise UserError(
            "network.adapter.modules_to_save: peft's copies of whole modules in half precision cannot be told from the "
            "base's where a network is copied: set network.dtype=float32, or leave it out"
        )
    with refusals():
        inject_adapter_in_model(options(name)(**named), model)


def _default(name: str, model: nn.Module) -> str | list[str]:
    """What peft adapts in a model of this family where nobody says."""
    from peft.utils import constants

    if name == "LN_TUNING":
        return ".*"
    table = getattr(constants, f"TRANSFORMERS_MODELS_TO_{name}_TARGET_MODULES_MAPPING")
    family = model.config.model_type  # type: ignore[union-attr]
    if family not in table:
        raise UserError(
            f"network.adapter: peft does not say which modules of a {family} to adapt: give target, all-linear or a "
            f"list of names such as {next(reversed(linears(model))).rpartition('.')[2]}"
        )
    found: str | list[str] = table[family]
    return found


def _feedforward(model: nn.Module, named: dict[str, Any]) -> list[str]:
    """Those of the chosen modules whose input is scaled, not their output."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as TABLE

    family = str(model.config.model_type)  # type: ignore[union-attr]
    asked = named.get("feedforward_modules", TABLE.get(family))
    if asked is None:
        raise UserError(
            f"network.adapter: peft does not say which modules of a {family} are feed-forward: give feedforward_modules"
        )
    ends = tuple([asked] if isinstance(asked, str) else asked)
    return [name for name in named["target_modules"] if name.endswith(ends)]


def _refuse_unknown(model: nn.Module, modules_to_save: list[str]) -> None:
    """Peft would pass over them in silence."""
    names = [name for name, _ in model.named_modules()]
    for each in modules_to_save:
        if not any(name.endswith(each) for name in names):
            hint = one_of(each, dict.fromkeys(name.rpartition(".")[2] for name in names if name))
            raise UserError(f"network.adapter.modules_to_save: the backbone has no module {each!r}.{hint}")


@contextmanager
def refusals() -> Iterator[None]:
    """Raises `UserError` for what peft refuses."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Unsupported layer type")  # every norm is one, for ln-tuning
            yield
    except (ImportError, IndexError, NotImplementedError, OSError, TypeError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"network.adapter: peft refuses it: {first}") from error
