"""Backbones of 8 or 4 bits a weight, by bitsandbytes: on a GPU, and for weights that do not train."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from inspect import signature
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from cl.system.words import one_of
from cl.types import UserError


def quantisation(options: Mapping[str, Any]) -> dict[str, Any]:
    """What transformers loads a model with, for fields of its `BitsAndBytesConfig`; nothing for none.

    Raises `UserError` for a field that it has not, and where this machine cannot.
    """
    if not options:
        return {}
    known = [name for name in signature(BitsAndBytesConfig).parameters if name != "kwargs"]
    for key in options:
        if key not in known:
            raise UserError(f"network.quantize: there is no option {key!r}.{one_of(key, known)}")
    if not options.get("load_in_4bit") and not options.get("load_in_8bit"):
        raise UserError("network.quantize: set load_in_4bit or load_in_8bit to true")
    if not torch.cuda.is_available():
        raise UserError(
            "network.quantize: bitsandbytes needs a GPU with CUDA, and there is none here. Leave it out; "
            "network.dtype=bfloat16 takes half the memory"
        )
    if find_spec("bitsandbytes") is None:
        raise UserError("network.quantize: it needs the package bitsandbytes: pip install bitsandbytes")
    try:
        return {"quantization_config": BitsAndBytesConfig(**options)}  # type: ignore[no-untyped-call]
    except (TypeError, ValueError) as error:
        raise UserError(f"network.quantize: transformers refuses it: {error}") from error
