"""Packed batches: the same hidden states and gradients as padded ones, and no padding in any layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn
from transformers import masking_utils

from cl.models.backbone import Backbone, attention, encoder
from cl.models.backbone.facts import Facts, unused_parameters
from cl.models.options import Attention
from cl.runs.prepare import prepare
from cl.testing.tiny import configured
from cl.types import UserError

SHARED = {"num_key_value_heads": 2}  # grouped-query attention
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
    "llama": lambda: hf.LlamaModel(hf.LlamaConfig(**SIZE, **SHARED)),
    "qwen2": lambda: hf.Qwen2Model(hf.Qwen2Config(**SIZE, **SHARED)),
    "qwen3": lambda: hf.Qwen3Model(hf.Qwen3Config(**SIZE, **SHARED, head_dim=8)),
    "mistral": lambda: hf.MistralModel(hf.MistralConfig(**SIZE, **SHARED, sliding_window=None)),
    "gemma": lambda: hf.GemmaModel(hf.GemmaConfig(**SIZE, **SHARED, head_dim=8)),
    "phi": lambda: hf.PhiModel(hf.PhiConfig(**SIZE)),
    "phi3": lambda: hf.Phi3Model(hf.Phi3Config(**SIZE, **SHARED, pad_token_id=0)),
    "olmo2": lambda: hf.Olmo2Model(hf.Olmo2Config(**SIZE, **SHARED)),
    "smollm3": lambda: hf.SmolLM3Model(hf.SmolLM3Config(**SIZE, **SHARED, pad_token_id=0)),
    "granite": lambda: hf.GraniteModel(hf.GraniteConfig(**SIZE, **SHARED)),
    "gpt-neox": lambda: hf.GPTNeoXModel(hf.GPTNeoXConfig(**SIZE)),
    "opt": lambda: hf.OPTModel(
        hf.OPTConfig(
            vocab_size=100,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            ffn_dim=64,
            max_position_embeddings=64,
            word_embed_proj_dim=32,
            dropout=0.0,
        )
    ),
    "gpt2": lambda: hf.GPT2Model(hf.GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=4, n_positions=64)),
}
CANNOT: dict[str, Callable[[], Any]] = {
    "relative positions": lambda: hf.DebertaV2Model(hf.DebertaV2Config(**SIZE)),
    "capped scores": lambda: hf.Gemma2Model(hf.Gemma2Config(**SIZE, **SHARED, head_dim=8)),
    "windows in some layers": lambda: hf.Gemma3TextModel(hf.Gemma3TextConfig(**SIZE, **SHARED, head_dim=8)),
    "chunks": lambda: hf.Llama4TextModel(
        hf.Llama4TextConfig(**SIZE, **SHARED, head_dim=8, intermediate_size_mlp=64, num_local_experts=1, pad_token_id=0)
    ),
    "biases by distance": lambda: hf.BloomModel(hf.BloomConfig(vocab_size=100, hidden_size=32, n_layer=2, n_head=4)),
    "a window": lambda: hf.ModernBertModel(
        hf.ModernBertConfig(**SIZE, pad_token_id=0, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2)
    ),
}
MASK = (torch.arange(9) < torch.tensor([[4], [9], [1], [6]])).long()
IDS = torch.randint(5, 100, MASK.shape, generator=torch.Generator().manual_seed(0))


def built(make: Callable[[], Any], attention: Attention = "auto") -> Backbone:
    torch.manual_seed(0)
    return Backbone(make(), attention=attention).double().eval()


def pass_of(network: Backbone) -> tuple[Tensor, list[Tensor]]:
    """Hidden states of real tokens, and the gradients of a function of them."""
    hidden = network(IDS * MASK, MASK)[MASK.bool()]
    parameters = [p for p in network.parameters() if p.requires_grad]
    return hidden, list(torch.autograd.grad(hidden.sin().sum(), parameters))


@pytest.mark.parametrize("family", PACK)
def test_packed_and_padded_are_the_same(family: str) -> None:
    network = built(PACK[family])
    assert network.first_position is not None
    hidden, gradients = pass_of(network)
    with network.padded():
        of_padded, gradients_of_padded = pass_of(network)
    rounded = 1e5 if family == "gemma" else 1.0  # its norms are float32, whatever the rest is
    torch.testing.assert_close(hidden, of_padded, rtol=0, atol=1e-12 * rounded)
    torch.testing.assert_close(gradients, gradients_of_padded, rtol=1e-9 * rounded, atol=1e-10 * rounded)


@pytest.mark.parametrize("attention", ["causal", "bidirectional", 1])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_packed_and_padded_are_the_same_in_another_direction(family: str, attention: Attention) -> None:
    network = built(PACK[family], attention)
    hidden, gradients = pass_of(network)
    with network.padded():
        of_padded, gradients_of_padded = pass_of(network)
    torch.testing.assert_close(hidden, of_padded, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients, gradients_of_padded, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_a_decoder_without_its_causal_mask_is_what_transformers_makes_of_it(family: str) -> None:
    ours, theirs = built(PACK[family], "bidirectional"), PACK[family]().double().eval()
    theirs.load_state_dict(ours.model.state_dict())
    theirs.config.is_causal = False
    theirs.set_attn_implementation("eager")  # sdpa asks each module too
    expected = theirs(input_ids=IDS * MASK, attention_mask=MASK).last_hidden_state
    torch.testing.assert_close(ours(IDS * MASK, MASK)[MASK.bool()], expected[MASK.bool()], rtol=0, atol=1e-6)
    assert not ours.is_causal
    assert built(PACK[family]).is_causal


@pytest.mark.parametrize("attention", ["causal", "bidirectional", 1, 0])
def test_a_token_sees_what_it_shall(attention: Attention) -> None:
    network, mask = built(PACK["llama"], attention), torch.ones_like(IDS)
    other = IDS.clone()
    other[:, -1] = (IDS[:, -1] + 1) % 100
    sees_later = not torch.equal(network(IDS, mask)[:, 0], network(other, mask)[:, 0])
    assert sees_later == (attention != "causal")
    network.watch()
    network(IDS, mask)
    above = [bool(maps.triu(1).any()) for maps in network.unwatch()]
    assert (
        above == {"causal": [False, False], "bidirectional": [True, True], 1: [False, True], 0: [True, True]}[attention]
    )


def test_a_layer_that_is_not_there_and_attention_that_is_fixed_are_refused() -> None:
    with pytest.raises(UserError, match=r"network.attention is 2: .* is one of 0 to 1"):
        built(PACK["llama"], 2)
    shared = hf.AlbertConfig(**{**SIZE, "num_hidden_layers": 3}, embedding_size=16)
    with pytest.raises(UserError, match="the layers of a AlbertModel share their attention"):
        built(lambda: hf.AlbertModel(shared), 1)
    with pytest.raises(UserError, match=r"network.attention is bidirectional: a ModernBertModel has attention of its"):
        built(CANNOT["a window"], "bidirectional")


def test_no_attention_of_a_packed_row_is_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else transformers builds a mask [T, T] for a packed row of T tokens."""
    network, sizes = built(PACK["llama"]), []
    ours = attention.Layout.attend

    def watched(self: attention.Layout, *args: Any) -> Tensor:
        sizes.append(args[1].shape)
        return ours(self, *args)

    monkeypatch.setattr(masking_utils, "sdpa_mask", None)  # nothing may build one
    monkeypatch.setattr(attention.Layout, "attend", watched)
    network(IDS, MASK)
    assert {shape[-2] for shape in sizes} == {MASK.shape[1]}


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_the_maps_that_are_watched_are_those_of_transformers(family: str) -> None:
    network, theirs = built(PACK[family]), PACK[family]().double().eval()
    theirs.load_state_dict(network.model.state_dict())
    theirs.set_attn_implementation("eager")
    network.watch()
    hidden = network(IDS * MASK, MASK)
    expected = theirs(input_ids=IDS * MASK, attention_mask=MASK, output_attentions=True)
    real = MASK.bool()
    for ours, of_theirs in zip(network.unwatch(), expected.attentions, strict=True):
        torch.testing.assert_close(ours.transpose(1, 2)[real], of_theirs.transpose(1, 2)[real], rtol=0, atol=1e-7)
    torch.testing.assert_close(hidden[real], expected.last_hidden_state[real], rtol=0, atol=1e-6)


def test_what_no_hidden_state_depends_on_is_found_without_a_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.autograd, "grad", None)
    monkeypatch.setattr(torch.autograd, "backward", None)
    network = Backbone(hf.BertModel(hf.BertConfig(**SIZE)), Facts(frozenset(), None, is_causal=False))
    assert unused_parameters(network) == {"pooler.dense.weight", "pooler.dense.bias"}


@pytest.mark.parametrize("make", CANNOT.values(), ids=CANNOT)
def test_what_cannot_pack_is_padded(make: Callable[[], Any]) -> None:
    network = built(make)
    assert network.first_position is None
    alone = [
        network(ids[None, :n], torch.ones(1, n, dtype=torch.long)) for ids, n in zip(IDS, MASK.sum(1), strict=True)
    ]
    torch.testing.assert_close(pass_of(network)[0], torch.cat(alone, dim=1)[0], rtol=0, atol=1e-6)


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
