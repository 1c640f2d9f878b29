"""Packed batches: the same hidden states and gradients as padded ones, and no padding in any layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from cl.models.backbone import Backbone, encoder
from cl.runs.prepare import prepare
from cl.testing.tiny import configured

SIZE: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
PACK: dict[str, Callable[[], Any]] = {
    "bert": lambda: hf.BertModel(hf.BertConfig(**SIZE), add_pooling_layer=False),
    "roberta": lambda: hf.RobertaModel(hf.RobertaConfig(**SIZE)),
    "distilbert": lambda: hf.DistilBertModel(
        hf.DistilBertConfig(vocab_size=100, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64)
    ),
    "albert": lambda: hf.AlbertModel(hf.AlbertConfig(**SIZE, embedding_size=16)),
    "electra": lambda: hf.ElectraModel(hf.ElectraConfig(**SIZE, embedding_size=32)),
    "gpt2": lambda: hf.GPT2Model(hf.GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=4, n_positions=64)),
}
CANNOT: dict[str, Callable[[], Any]] = {
    "relative positions": lambda: hf.DebertaV2Model(hf.DebertaV2Config(**SIZE)),
    "a window": lambda: hf.ModernBertModel(
        hf.ModernBertConfig(**SIZE, pad_token_id=0, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2)
    ),
    "heads that share keys": lambda: hf.Qwen2Model(hf.Qwen2Config(**SIZE, num_key_value_heads=2)),
}
MASK = (torch.arange(9) < torch.tensor([[4], [9], [1], [6]])).long()
IDS = torch.randint(5, 100, MASK.shape, generator=torch.Generator().manual_seed(0))


def built(make: Callable[[], Any]) -> Backbone:
    torch.manual_seed(0)
    return Backbone(make()).double().eval()


def pass_of(network: Backbone) -> tuple[Tensor, list[Tensor]]:
    """Hidden states of real tokens, and the gradients of a function of them."""
    hidden = network(IDS * MASK, MASK)[MASK.bool()]
    parameters = [p for p in network.parameters() if p.requires_grad]
    return hidden, list(torch.autograd.grad(hidden.sin().sum(), parameters))


@pytest.mark.parametrize("make", PACK.values(), ids=PACK)
def test_packed_and_padded_are_the_same(make: Callable[[], Any]) -> None:
    network = built(make)
    assert network.first_position is not None
    hidden, gradients = pass_of(network)
    with network.padded():
        of_padded, gradients_of_padded = pass_of(network)
    torch.testing.assert_close(hidden, of_padded, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients, gradients_of_padded, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("make", CANNOT.values(), ids=CANNOT)
def test_what_cannot_pack_is_padded(make: Callable[[], Any]) -> None:
    network = built(make)
    assert network.first_position is None
    alone = [
        network(ids[None, :n], torch.ones(1, n, dtype=torch.long)) for ids, n in zip(IDS, MASK.sum(1), strict=True)
    ]
    torch.testing.assert_close(pass_of(network)[0], torch.cat(alone, dim=1)[0], rtol=0, atol=1e-9)


def test_no_layer_sees_padding() -> None:
    network, seen = built(PACK["bert"]), []
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.LayerNorm):
            layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[:-1].numel()))
    network(IDS, MASK)
    assert set(seen) == {int(MASK.sum())}


def test_a_batch_without_padding() -> None:
    network, ids = built(PACK["bert"]), IDS[:2]
    full = torch.ones_like(ids)
    with network.padded():
        expected = network(ids, full)
    torch.testing.assert_close(network(ids, full), expected, rtol=0, atol=1e-12)


def test_what_watches_layers_sees_examples() -> None:
    network, shapes = built(PACK["bert"]), []

    def change(embedded: Tensor) -> Tensor:
        shapes.append(embedded.shape[:2])
        return embedded

    with network.embedding(change):
        network(IDS, MASK)
    network.watch()
    network(IDS, MASK)
    shapes += [maps.shape[::2] for maps in network.unwatch()]
    assert set(shapes) == {MASK.shape}
    assert network(IDS, MASK)[MASK == 0].eq(0).all()  # packed again


def test_a_run_says_that_it_cannot_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured("mixed", {})
    assert not [w for w in prepare(config).warnings if "pack" in w]
    monkeypatch.setattr(encoder, "first_position", lambda model: None)
    assert any("scratch cannot pack batches" in w for w in prepare(config).warnings)
