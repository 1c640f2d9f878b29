"""A folder without weights tells names, shapes and what would train; `cl check` counts by it, `cl run` refuses it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import cl
from cl.models.adapters import adapted, read
from cl.models.backbone import Backbone, load, of_family, word_pieces
from cl.runs import needs
from cl.runs.learners import network_of
from cl.testing.tiny import Scratch, tiny_config
from cl.types import UserError

TOKENIZER = word_pieces(["good food", "bad service"], 100)
ADAPTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "lora": {"kind": "lora", "r": 2, "target": "all-linear"},
    "lora, last layer": {"kind": "lora", "r": 2, "target": "all-linear", "layers": -1},
    "bitfit": {"kind": "bitfit"},
    "bottleneck": {"kind": "bottleneck", "size": 4},
    "prompt": {"kind": "prompt", "tokens": 3},
    "p-tuning": {"kind": "p-tuning", "tokens": 3},
    "prefix": {"kind": "prefix", "tokens": 3},
}


@pytest.fixture(scope="module", params=["llama", "gpt2", "bert"])
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model's folder, and the same without its weights."""
    whole, bare = (tmp_path_factory.mktemp(request.param) / name for name in ("whole", "bare"))
    size = Scratch(hidden=16, layers=2, heads=2, vocabulary=len(TOKENIZER))
    of_family(request.param, size, max_position_embeddings=32).model.save_pretrained(whole)
    for folder in (whole, bare):
        TOKENIZER.save_pretrained(folder)
    (bare / "config.json").write_bytes((whole / "config.json").read_bytes())
    return whole, bare


def told(backbone: Backbone) -> dict[str, Any]:
    return {name: (tuple(p.shape), p.dtype, p.requires_grad) for name, p in backbone.named_parameters()}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_outline_has_the_names_and_shapes_of_the_whole_and_the_same_of_it_trains(
    folders: tuple[Path, Path], adapter: str
) -> None:
    (whole, _), (outline, _) = load(str(folders[0])), load(str(folders[1]), outline=True)
    assert outline.is_outline
    assert not whole.is_outline
    if options := ADAPTERS[adapter]:
        whole, outline = (adapted(each, read(options), 0) for each in (whole, outline))
    assert told(outline) == told(whole)
    assert all(p.is_meta for p in outline.parameters())
    assert (outline.is_causal, outline.takes_types) == (whole.is_causal, whole.takes_types)


def test_direction_and_precision_are_those_asked_for(folders: tuple[Path, Path]) -> None:
    for attention in ("causal", "bidirectional"):
        outline, _ = load(str(folders[1]), attention=attention, dtype="bfloat16", outline=True)
        assert outline.is_causal == (attention == "causal")
        assert {str(p.dtype) for p in outline.parameters()} == {"torch.bfloat16"}


def test_a_check_counts_by_it_and_a_run_refuses_it(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tiny_config("mixed")
    config.run.dir, config.trainer["precision"] = str(tmp_path / "run"), "32-true"
    counted, weights = [], []
    for folder in folders:
        config.network = replace(config.network, backbone=str(folder), adapter=ADAPTERS["lora"])
        assert cl.check(config).problems == []
        said = capsys.readouterr().out
        said = " ".join(said.split())
        counted += re.findall(r"takes ([\d,]+ parameters, [\d,]+ of them trained)", said)
        weights += [float(num) for num in re.findall(r"weights ([\d.]+) MB", said)]
    assert counted[0] == counted[1]
    assert weights[1] > weights[0]  # the base is not in memory yet
    assert "holds no weights: this is what its config.json tells" in said
    with pytest.raises(UserError, match=r"does not load as a transformers model"):
        cl.run(config)


def test_linear_layers_are_counted_as_they_will_be_quantised(folders: tuple[Path, Path]) -> None:
    outline, _ = load(str(folders[1]), dtype="bfloat16", outline=True)
    config = tiny_config("mixed")
    network = network_of(config.network, adapted(outline, read(ADAPTERS["lora"]), 0))
    whole = needs._weights(config, network, is_there=False)
    linear = [m for m in outline.modules() if isinstance(m, nn.Linear)]
    for name, bits in (("load_in_4bit", 4), ("load_in_8bit", 8)):
        config.network = replace(config.network, quantize={name: True})
        saved = sum(m.weight.numel() * (16 - bits) // 8 for m in linear)
        assert needs._weights(config, network, is_there=False) == whole - saved
        assert needs._weights(config, network, is_there=True) == whole


def test_an_encoder_has_no_words_to_say_without_its_weights_either(folders: tuple[Path, Path]) -> None:
    if load(str(folders[1]), outline=True)[0].is_causal:
        assert load(str(folders[1]), outline=True, with_head=True)[0].speech is not None
        return
    with pytest.raises(UserError, match=r"is an encoder, whose last token says no word"):
        load(str(folders[1]), outline=True, with_head=True)
