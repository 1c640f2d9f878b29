"""Virtual tokens, by peft's own encoders: embeddings before those of each text, or keys and values before its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from cl.models.adapters.injected import hidden as hidden_of_peft
from cl.models.adapters.injected import options, refusals
from cl.models.backbone.entering import Entering, Virtual
from cl.models.packing import Prefix
from cl.types import UserError

# What peft finds out itself, and modules that train beside the virtual tokens, which are other kinds of adapters.
NOT_OURS = ("token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers", "modules_to_save")
# Options that peft passes over unless another one has this value.
ONLY_WITH = {
    "prompt_tuning_init_text": ("prompt_tuning_init", "TEXT"),
    "tokenizer_name_or_path": ("prompt_tuning_init", "TEXT"),
    "encoder_num_layers": ("encoder_reparameterization_type", "LSTM"),
    "encoder_dropout": ("encoder_reparameterization_type", "LSTM"),
    "encoder_hidden_size": ("prefix_projection", True),
}


class Encoded(Virtual):
    """The virtual tokens of one of peft's encoders, which gives `[1, V, W]` numbers for their places `[1, V]`."""

    def __init__(self, encoder: nn.Module, asked: Any) -> None:
        super().__init__()
        self.encoder, self.num = encoder, asked.num_virtual_tokens
        self.num_layers, self.num_heads = asked.num_layers, asked.num_attention_heads

    def encoded(self) -> Tensor:
        """`[1, V, W]`, or `[B, V, W]` where somebody who watches layers has made an example each of them."""
        device = next(self.parameters()).device
        places = torch.arange(self.num, device=device).unsqueeze(0)
        # Without cudnn, whose LSTM has no backward pass in eval mode, and without autocast, which some LSTMs refuse.
        with torch.backends.cudnn.flags(enabled=False), torch.autocast(device.type, enabled=False):
            found: Tensor = self.encoder(places)
        return found


class Prompt(Encoded):
    """Embeddings in front of those of each text. Their token type is 0, their positions are the first ones."""

    def lead(self, entering: Entering, embed: nn.Module) -> Entering:
        embedded: Tensor = embed(entering.tokens)
        ours = self.encoded().to(embedded.dtype).expand(len(embedded), -1, -1)
        types = None if entering.types is None else pad(entering.types, (self.num, 0))
        return Entering(torch.cat([ours, embedded], 1), pad(entering.mask, (self.num, 0), value=1), types)


class KeysAndValues(Encoded):
    """Keys and values that all tokens of a layer see before their own, at positions that come first."""

    def lead(self, entering: Entering, embed: nn.Module) -> Entering:
        found = self.encoded()
        found = found.view(*found.shape[:2], self.num_layers, 2, self.num_heads, -1)
        keys, values = found.permute(3, 2, 0, 4, 1, 5)  # [layers, 1 or B, heads, V, D] each
        return entering._replace(prefix=Prefix(keys.unbind(), values.unbind()))


def hidden() -> frozenset[str]:
    """Fields that are no options of virtual tokens."""
    return hidden_of_peft() | frozenset(NOT_OURS)


def build(name: str, model: Any, values: dict[str, Any], places: list[str]) -> None:
    """Gives the model virtual tokens. Raises `UserError` for what peft refuses."""
    from peft import PeftType
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
    from peft.utils import _prepare_prompt_learning_config

    _refuse_idle(options(name), values)
    words, is_prefix = model.get_input_embeddings(), name == "PREFIX_TUNING"
    width = model.config.hidden_size if is_prefix else words.weight.shape[1]
    sizes = {"token_dim": width, "num_attention_heads": model.config.num_attention_heads}
    with refusals():
        asked = options(name)(**values, **sizes, num_transformer_submodules=1)
        asked = _prepare_prompt_learning_config(asked, model.config)  # type: ignore[no-untyped-call]
        encoder: Any = PEFT_TYPE_TO_TUNER_MAPPING[PeftType(name)]
        made = encoder(asked, words) if name == "PROMPT_TUNING" else encoder(asked)
    model.virtual_tokens = (KeysAndValues if is_prefix else Prompt)(made, asked)


def _refuse_idle(cls: type, values: dict[str, Any]) -> None:
    """Refuses options that change nothing beside the others."""
    defaults = {name: field.default for name, field in cls.__dataclass_fields__.items()}  # type: ignore[attr-defined]
    for name, (other, value) in ONLY_WITH.items():
        if name in values and other in defaults and values.get(other, defaults[other]) != value:
            raise UserError(f"network.adapter.{name} does nothing here: give it with {other}={value}, or leave it out")
