"""`network.gradient_checkpointing`: layers are computed twice, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers as hf

from cl.models.backbone import Backbone
from cl.testing.tiny import End, assert_same, configured, options, prepared, train
from cl.types import UserError

LORA = {"kind": "lora", "r": 2, "target": "all-linear"}
SIZE = {"vocab_size": 50, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 16}


def run(backbone: str, adapter: dict[str, Any], plugins: dict[str, Any], recomputes: bool) -> End:
    config = configured("mixed", plugins, backbone=backbone, adapter=adapter, max_epochs=1)
    config = replace(config, network=replace(config.network, dropout=0.2, gradient_checkpointing=recomputes))
    return train(prepared("mixed", backbone), config, 2)


@pytest.mark.parametrize(
    ("backbone", "adapter", "plugins"),
    [
        ("scratch", {}, {}),
        ("llama", LORA | {"dropout": 0.2}, options("ewc") | options("lwf")),
        ("gpt2", LORA | {"layers": 1}, options("der++")),
    ],
)
def test_training_is_the_same(backbone: str, adapter: dict[str, Any], plugins: dict[str, Any]) -> None:
    """Dropout too: the second time it draws what it drew the first time."""
    usual, recomputed = (run(backbone, adapter, plugins, recomputes) for recomputes in (False, True))
    assert_same(usual.weights, recomputed.weights, 1e-9)


def test_layers_are_computed_twice_where_something_trains() -> None:
    network, passes = Backbone(hf.LlamaModel(hf.LlamaConfig(**SIZE))), []
    network.checkpoint_gradients()
    network.model.layers[0].mlp.register_forward_pre_hook(lambda *_: passes.append(1))
    ids = torch.tensor([[1, 2, 3]])
    network(ids, torch.ones_like(ids)).sum().backward()
    assert len(passes) == 2


def test_maps_without_a_gradient_are_refused() -> None:
    network = Backbone(hf.LlamaModel(hf.LlamaConfig(**SIZE)))
    network.checkpoint_gradients()
    with pytest.raises(UserError, match=r"needs network\.gradient_checkpointing=false"):
        network.watch()
