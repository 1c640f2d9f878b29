"""Bottleneck adapters: h + W_up f(W_down h) on what a block adds to the stream (Houlsby et al., 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.functional import relu

from cl.system.words import listed
from cl.types import UserError

# What ends the attention and the feed-forward block of a layer, in each family of models: the last module before the
# residual is added (and dropout, where there is some; and the norm that Gemma 2 and OLMo 2 have there).
ENDS = (
    ("self_attn.o_proj", "mlp.down_proj"),  # Llama, Mistral, Qwen, Gemma, Phi-3, SmolLM
    ("attention.output.dense", "output.dense"),  # BERT, RoBERTa, ELECTRA, DeBERTa
    ("attn.c_proj", "mlp.c_proj"),  # GPT-2
    ("attention.out_lin", "ffn.lin2"),  # DistilBERT
    ("attn.Wo", "mlp.Wo"),  # ModernBERT
    ("attention.dense", "mlp.dense_4h_to_h"),  # GPT-NeoX, Pythia
    ("self_attn.out_proj", "fc2"),  # OPT
)


@dataclass
class Options:
    """`size`: the width of the bottleneck. `placement`: houlsby, after attention and after the feed-forward block; or
    pfeiffer, after the latter alone (Pfeiffer et al., 2021).
    """

    size: int = 64
    placement: Literal["houlsby", "pfeiffer"] = "houlsby"


class Bottleneck(nn.Module):
    """A module and the adapter on its output, `[…, H]` → `[…, H]`. W_up begins at 0: at first nothing changes."""

    def __init__(self, base_layer: nn.Module, hidden: int, size: int) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.bottleneck_down, self.bottleneck_up = nn.Linear(hidden, size), nn.Linear(size, hidden)
        for parameter in self.bottleneck_up.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.base_layer(x)
        added: Tensor = self.bottleneck_up(relu(self.bottleneck_down(h.to(self.bottleneck_down.weight.dtype))))
        return h + added.to(h.dtype)


def build(model: nn.Module, values: dict[str, Any], places: list[str]) -> None:
    """Wraps the ends of blocks. Raises `UserError` for a family whose blocks are not known."""
    asked, names = Options(**values), [name for name, _ in model.named_modules() if name.startswith(tuple(places))]
    pairs = [pair for pair in ENDS if all(any(name.endswith(f".{end}") for name in names) for end in pair)]
    if not pairs:
        raise UserError(
            f"network.adapter: bottleneck does not know where the blocks of {type(model).__name__} end; it "
            f"knows {listed(f'{a}, {b}' for a, b in ENDS)}. Take another kind, such as lora"
        )
    attention, feedforward = pairs[0]
    hidden: int = model.config.hidden_size  # type: ignore[union-attr, assignment]
    for name in names:
        # Attention is asked first: in BERT its name ends as the other's does.
        houlsby = asked.placement == "houlsby"
        if houlsby if name.endswith(f".{attention}") else name.endswith(f".{feedforward}"):
            model.set_submodule(name, Bottleneck(model.get_submodule(name), hidden, asked.size))
