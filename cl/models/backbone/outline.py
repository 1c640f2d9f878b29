"""Backbones without numbers: what can be told of a folder that holds a configuration and no weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel

from cl.models.backbone.encoder import Backbone
from cl.models.backbone.facts import Facts
from cl.models.backbone.speaking import Speech
from cl.models.options import Attention, Precision
from cl.models.packing import is_causal

WEIGHTS = ("model*.safetensors*", "pytorch_model*.bin*")  # what transformers calls them, shards and their index too


def lacks_weights(name: str) -> bool:
    """Whether it is a local folder without files of weights."""
    return os.path.isdir(name) and not any(any(Path(name).glob(pattern)) for pattern in WEIGHTS)


def outlined(config: Any, attention: Attention, dtype: Precision, trust_remote_code: bool) -> Backbone:
    """The backbone of a configuration on torch's meta device. What only numbers can tell is not found: packing is taken
    to be impossible, and of unused parameters those of a pooler are known, by their names.
    """
    with torch.device("meta"):
        options: dict[str, Any] = {"dtype": getattr(torch, dtype), "trust_remote_code": trust_remote_code}
        model = AutoModel.from_config(config, **options)  # type: ignore[no-untyped-call]
    causal = any(map(is_causal, model.modules())) or any(
        name.endswith(("ForCausalLM", "LMHeadModel")) for name in config.architectures or ()
    )
    causal = causal if attention == "auto" else attention == "causal"
    unused = frozenset(name for name, _ in model.named_parameters() if name.startswith("pooler."))
    found = Backbone(model, Facts(unused, None, causal))
    rows = model.get_input_embeddings().weight.detach()  # of the same shape
    found.speech = Speech(rows, rows[:, 0])
    return found
