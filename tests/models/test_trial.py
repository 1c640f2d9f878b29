"""What a backbone can take is found by trying it, whatever its configuration calls its limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from cl.config import NetworkConfig
from cl.models.backbone import Backbone, load, of_family, word_pieces
from cl.models.backbone.facts import alike, ignores_later_tokens
from cl.models.options import Scratch
from cl.models.trial import longest_input, sees_padding
from cl.runs.networks import build_backbone, network_notes
from cl.runs.prepare import prepare
from cl.runs.streams import build_stream
from cl.testing.tiny import tiny_config
from cl.types import UserError

SIZE: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 20,
}
ESM = {"pad_token_id": 1, "mask_token_id": 4}
XLNET = {"vocab_size": 100, "d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 16}
LUKE = {"entity_vocab_size": 10, "entity_emb_size": 8}
XMOD = {"languages": ["en_XX"], "default_language": "en_XX"}
LONGEST: dict[str, tuple[int, Callable[[], Any]]] = {
    "bert": (20, lambda: hf.BertModel(hf.BertConfig(**SIZE))),
    "roberta": (18, lambda: hf.RobertaModel(hf.RobertaConfig(**SIZE))),
    "roberta, padding 3": (16, lambda: hf.RobertaModel(hf.RobertaConfig(**SIZE, pad_token_id=3))),
    "camembert": (18, lambda: hf.CamembertModel(hf.CamembertConfig(**SIZE))),
    "mpnet": (18, lambda: hf.MPNetModel(hf.MPNetConfig(**SIZE))),
    "longformer": (18, lambda: hf.LongformerModel(hf.LongformerConfig(**SIZE, attention_window=[4]))),
    "data2vec": (18, lambda: hf.Data2VecTextModel(hf.Data2VecTextConfig(**SIZE))),
    "esm": (18, lambda: hf.EsmModel(hf.EsmConfig(**SIZE, **ESM))),
    "ibert": (18, lambda: hf.IBertModel(hf.IBertConfig(**SIZE))),
    "xmod": (18, lambda: hf.XmodModel(hf.XmodConfig(**SIZE, **XMOD))),
    "luke": (18, lambda: hf.LukeModel(hf.LukeConfig(**SIZE, **LUKE))),
    "luke, padding 7": (12, lambda: hf.LukeModel(hf.LukeConfig(**SIZE, **LUKE, pad_token_id=7))),
    "relative positions": (20, lambda: hf.DebertaV2Model(hf.DebertaV2Config(**SIZE))),
    "rotary positions": (20, lambda: hf.EsmModel(hf.EsmConfig(**SIZE, **ESM, position_embedding_type="rotary"))),
    "no limit": (64, lambda: hf.XLNetModel(hf.XLNetConfig(**XLNET))),
}  # fmt: skip
ROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
SEE_PADDING = {
    "positions that the longest text scales": lambda: hf.Phi3Model(
        hf.Phi3Config(
            **SIZE,
            initializer_range=0.2,
            pad_token_id=0,
            original_max_position_embeddings=8,
            rope_parameters=ROPE | {"original_max_position_embeddings": 8},
        )
    ),
    "convbert": lambda: hf.ConvBertModel(hf.ConvBertConfig(**SIZE, embedding_size=16)),
    "fnet": lambda: hf.FNetModel(
        hf.FNetConfig(**{k: v for k, v in SIZE.items() if k != "num_attention_heads"})  # it has no attention
    ),
}


@pytest.mark.parametrize(("longest", "make"), LONGEST.values(), ids=LONGEST)
def test_the_longest_input(longest: int, make: Callable[[], Any]) -> None:
    backbone = Backbone(make())
    drawn = torch.random.get_rng_state()
    assert longest_input(backbone, 64) == longest
    assert longest_input(backbone, longest) == longest
    assert longest_input(backbone, 7) == 7
    assert not sees_padding(backbone, 12)
    assert torch.equal(drawn, torch.random.get_rng_state()), "a run draws the same numbers as without a trial"
    assert backbone.training


@pytest.mark.parametrize("make", SEE_PADDING.values(), ids=SEE_PADDING)
def test_what_sees_padding(make: Callable[[], Any]) -> None:
    assert sees_padding(Backbone(make()), 12)


def saved(folder: Path, model: Any) -> str:
    tokenizer = word_pieces(["a few words"], 100)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_length_that_the_table_cannot_hold_is_refused(tmp_path: Path) -> None:
    config = NetworkConfig(backbone=saved(tmp_path, LONGEST["mpnet"][1]()), max_length=19)
    with pytest.raises(UserError, match=r"network.max_length is 19, but .* takes 18 tokens at most: lower it"):
        build_backbone(config, ())
    build_backbone(replace(config, max_length=18), ())


def test_a_run_says_that_scores_depend_on_batches(tmp_path: Path) -> None:
    config = tiny_config("sequence")
    stream = build_stream(config.stream)
    network = NetworkConfig(backbone=saved(tmp_path, SEE_PADDING["convbert"]()), max_length=20)
    assert any("sees padding" in w for w in prepare(replace(config, network=network), stream).warnings)
    assert not any("sees padding" in w for w in prepare(config, stream).warnings)


def test_attention_that_is_not_the_backbones_own_is_noted() -> None:
    backbone = Backbone(LONGEST["esm"][1]())
    assert not network_notes(NetworkConfig(), backbone)
    (note,) = network_notes(NetworkConfig(attention="bidirectional"), backbone)
    assert note.startswith("network.attention is bidirectional: ") and "export" not in note
    assert "no export" in network_notes(NetworkConfig(attention=1), backbone)[0]


def test_a_folder_that_is_not_there_is_no_hub_id(tmp_path: Path) -> None:
    (tmp_path / "smollm2").mkdir()
    with pytest.raises(UserError, match=r"there is no folder .*smolm2\. Did you mean 'smollm2'"):
        load(str(tmp_path / "smolm2"))


def test_what_is_no_backbone_for_texts_is_refused(tmp_path: Path) -> None:
    size = {"vocab_size": 100, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    with pytest.raises(UserError, match="a T5Model, is no backbone for single texts"):
        load(saved(tmp_path, hf.T5Model(hf.T5Config(**size))))


def test_what_rounding_does_beside_a_great_number_is_no_sight() -> None:
    """Some families have states of 50 in a few dimensions, and rounding of that size everywhere."""
    states = torch.tensor([[44.7, 0.0, 1e-4]])
    assert alike(states, states + 1e-4 * torch.tensor([[1.0, -1.0, 1.0]]))
    assert not alike(states, states + 1e-2)
    half = states.bfloat16()
    assert alike(half, half + half.abs().max() * 2**-8)


@pytest.mark.parametrize(
    ("family", "causal"), [("bert", False), ("distilbert", False), ("llama", True), ("gpt2", True)]
)
@pytest.mark.parametrize("spread", [0.002, 0.02, 1.0])
def test_what_is_causal_is_told_by_gradients(family: str, causal: bool, spread: float) -> None:
    """Also where later tokens do little beside the greatest number of a state, and where there are great ones."""
    torch.manual_seed(0)
    backbone = of_family(family, Scratch(hidden=16, layers=2, heads=2, vocabulary=50), initializer_range=spread)
    assert backbone.is_causal == causal
    assert ignores_later_tokens(backbone) == causal  # and again, now that it packs
    with torch.no_grad():
        backbone.model.get_input_embeddings().weight[:, 0] += 50
    assert ignores_later_tokens(backbone) == causal
