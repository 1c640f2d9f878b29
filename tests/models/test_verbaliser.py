"""A verbaliser begins with the language model's own words, and learns as any readout does."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from data.test_forms import metaspace
from tokenizers.processors import TemplateProcessing

import cl
from cl.config import NetworkConfig, PromptConfig
from cl.data.prompts import Template
from cl.models.backbone import load, word_pieces
from cl.models.verbaliser import doubts, label_words
from cl.runs.export import export
from cl.runs.learners import network_of
from cl.runs.networks import build_backbone, network_notes
from cl.runs.predict import Predictor
from cl.testing.tiny import tiny_config
from cl.types import UserError

TEMPLATE = "Review: {text} This is"
TOKENIZER = word_pieces(["Review: the food was good and the service bad This is great"], 200)
ENDED = copy.deepcopy(TOKENIZER)  # puts a token after each text, as encoders want it
TOKENIZER.backend_tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B")
WORDS = {"negative": " bad", "positive": " good"}


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small language model."""
    torch.manual_seed(0)
    made = tmp_path_factory.mktemp("hub") / "llama"
    config = hf.LlamaConfig(
        vocab_size=len(TOKENIZER),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.2,
        tie_word_embeddings=request.param,
    )
    hf.LlamaForCausalLM(config).save_pretrained(made)
    TOKENIZER.save_pretrained(made)
    return made


def asked(folder: Path, calibrate: bool = False, **words: str) -> NetworkConfig:
    prompt = PromptConfig(TEMPLATE, words or WORDS, calibrate)
    return NetworkConfig(backbone=str(folder), max_length=48, head="verbaliser", prompt=prompt, dropout=0.0)


def own_logits(folder: Path, text: str) -> torch.Tensor:
    """What transformers' own model says of the label words after the prompt."""
    model = hf.LlamaForCausalLM.from_pretrained(folder).eval()
    ids = torch.tensor([TOKENIZER(Template.of(TEMPLATE).around(text)).input_ids])
    with torch.no_grad():
        every = model(input_ids=ids).logits[0, -1]
    return every[[TOKENIZER(word, add_special_tokens=False).input_ids[0] for word in WORDS.values()]]


@pytest.mark.parametrize("calibrate", [False, True])
def test_before_training_logits_are_those_of_the_language_model(folder: Path, calibrate: bool) -> None:
    """Calibrated, less those of the empty text."""
    config = asked(folder, calibrate)
    network = network_of(config, build_backbone(config, [])[0]).eval()
    network.grow({"sequence": tuple(WORDS)}, torch.Generator())
    ids = torch.tensor([TOKENIZER(Template.of(TEMPLATE).around("the food was bad")).input_ids])
    with torch.no_grad():
        hidden = network.backbone(ids, torch.ones_like(ids))[:, -1]
        logits = network.head("sequence")(hidden)[0]
    expected = own_logits(folder, "the food was bad") - calibrate * own_logits(folder, "")
    torch.testing.assert_close(logits, expected)
    assert network.head("sequence").weight.requires_grad


def test_rows_come_by_the_names_of_classes_whatever_their_order(folder: Path) -> None:
    config = asked(folder)
    network = network_of(config, build_backbone(config, [])[0])
    network.grow({"sequence": ("positive",), "token": ("O", "B-per")}, torch.Generator())
    network.grow({"sequence": ("positive", "negative"), "token": ("O", "B-per")}, torch.Generator())
    words = network.backbone.label_words
    assert torch.equal(network.head("sequence").weight, torch.stack([words["positive"].row, words["negative"].row]))
    assert type(network.head("token")).__name__ == "Linear"
    assert network.backbone.speech is None  # the others are let go


def run_config(folder: Path, where: Path, **prompt: Any) -> Any:
    network = asked(folder)
    network = replace(network, prompt=replace(network.prompt, **prompt))
    config = tiny_config("sequence", network=network, strategies={"ewc_lwf": {"ewc": {}, "lwf": {}}})
    config.run.dir, config.evaluate.initial = str(where), True
    return config


def test_it_learns_beside_plugins_predicts_and_has_a_row_before_training(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cl.run(run_config(folder, tmp_path / "run"))
    said = capsys.readouterr().out
    assert re.search(r"before training: \w+ \d+\.\d, \w+ \d+\.\d", said)
    assert "Before training" in (tmp_path / "run/table.md").read_text(encoding="utf-8")
    cell = tmp_path / "run/ewc_lwf/seed0"
    matrix = json.loads((cell / "matrix.json").read_text())
    assert all(score is not None for score in matrix["initial"])
    (answer,) = Predictor(cell)(["the food was good"])
    assert answer["label"] in WORDS
    card = (export(cell, tmp_path / "out") / "README.md").read_text()
    assert 'model("Review: a text This is")' in card
    assert "A text stands within the prompt that it was trained in" in card


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"negative": " bad"}, r"network\.prompt\.words has no word for 'positive'"),
        (WORDS | {"neutral": " great"}, r"network\.prompt\.words\.neutral: no text has this class"),
        (WORDS | {"positive": " "}, r"network\.prompt\.words\.positive is ' ', which has no token"),
        (WORDS | {"positive": "great"}, r"words\.positive is 'great' and the template ends with a letter"),
    ],
)
def test_words_that_fit_no_class_or_say_nothing_are_refused(
    folder: Path, tmp_path: Path, words: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        cl.run(run_config(folder, tmp_path, words=words))


def test_words_that_cannot_be_told_apart_are_told(folder: Path) -> None:
    config = asked(folder, negative=" goodbad", positive=" good", neutral=" great")
    backbone, _ = build_backbone(config, [])
    first, second = network_notes(config, backbone)
    assert "words.negative has 2 tokens, good ##bad, of which the first is read" in first or "tokens" in first
    assert "negative and positive begin with the same token, good" in second


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": PromptConfig("no place", WORDS)}, r"template is 'no place': write \{text\} once"),
        ({"prompt": PromptConfig(TEMPLATE)}, r"words is empty"),
        ({"backbone": "scratch"}, r"a scratch backbone is no language model"),
        ({"pooling": "mean"}, r"pooling is mean, and a verbaliser reads the last token"),
        ({"head": "linear"}, r"words does nothing here"),
        ({"attention": "bidirectional"}, r"attention is bidirectional, and a verbaliser needs causal attention"),
    ],
)
def test_mistakes_of_the_configuration(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        cl.run(tiny_config("sequence", network=replace(asked(folder), **changes)))


def test_an_encoder_and_a_model_without_a_head_are_refused(folder: Path, tmp_path: Path) -> None:
    size: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    hf.BertForMaskedLM(hf.BertConfig(vocab_size=len(TOKENIZER), intermediate_size=16, **size)).save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"a BertLMHeadModel, makes its logits otherwise .*, as encoders do"):
        load(str(tmp_path), with_head=True)
    untied = hf.LlamaConfig.from_pretrained(folder, tie_word_embeddings=False)
    hf.LlamaModel(untied).save_pretrained(tmp_path / "bare")
    TOKENIZER.save_pretrained(tmp_path / "bare")
    with pytest.raises(UserError, match=r"lack 1 weights of a LlamaForCausalLM, such as lm_head\.weight"):
        load(str(tmp_path / "bare"), with_head=True)


def test_a_word_of_several_tokens_is_read_by_its_first(folder: Path) -> None:
    backbone, tokenizer = load(str(folder), with_head=True)
    assert backbone.speech is not None
    found = label_words({"a": " goodbad", "b": " bad"}, ("", "so"), tokenizer, backbone.speech, backbone, False)
    first = tokenizer(" goodbad", add_special_tokens=False).input_ids[0]
    assert torch.equal(found["a"].row, backbone.speech.rows[first])
    assert doubts({"b": found["b"]}) == []


def saved(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return folder


SIZE: dict[str, Any] = {
    "vocab_size": len(TOKENIZER),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}


@pytest.mark.parametrize("family", ["granite", "phi", "gpt2"])
def test_logits_that_are_scaled_or_have_a_bias_are_taken_as_they_are(family: str, tmp_path: Path) -> None:
    """Granite divides them by a constant; Phi has a bias a word."""
    torch.manual_seed(0)
    options = {"logits_scaling": 4.0, "pad_token_id": 0} if family == "granite" else {}
    model = hf.AutoModelForCausalLM.from_config(hf.AutoConfig.for_model(family, **SIZE, **options)).eval()
    if family == "phi":
        torch.nn.init.normal_(model.lm_head.bias)
    config = asked(saved(model, tmp_path / family))
    network = network_of(config, build_backbone(config, [])[0]).eval()
    network.grow({"sequence": tuple(WORDS)}, torch.Generator())
    ids = torch.tensor([TOKENIZER("Review: the food").input_ids])
    with torch.no_grad():
        logits = network.head("sequence")(network.backbone(ids, torch.ones_like(ids))[:, -1])[0]
        every = model(input_ids=ids).logits[0, -1]
    wanted = every[[TOKENIZER(word).input_ids[0] for word in WORDS.values()]]
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)


def test_logits_that_are_no_product_and_a_token_after_each_text_are_refused(folder: Path, tmp_path: Path) -> None:
    options = {"head_dim": 8, "final_logit_softcapping": 0.5, "num_key_value_heads": 1}
    torch.manual_seed(0)
    capped = hf.Gemma2ForCausalLM(hf.Gemma2Config(**SIZE, **options))
    with pytest.raises(UserError, match=r"makes its logits otherwise than as a product of features and rows"):
        load(str(saved(capped, tmp_path / "capped")), with_head=True)
    backbone, _ = load(str(folder), with_head=True)
    assert backbone.speech is not None
    with pytest.raises(UserError, match=r"this tokenizer puts a token of its own after each text"):
        label_words(WORDS, ("", "so"), ENDED, backbone.speech, backbone, False)


def test_words_are_read_as_they_stand_after_the_template(folder: Path) -> None:
    """Tokenizers that put a blank before the text, as Llama 2's, make another token of a word alone."""
    backbone, _ = load(str(folder), with_head=True)
    assert backbone.speech is not None
    tokenizer = metaspace("always")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B")
    for prompt in (("so", "so nice so"), ("", "nice")):
        found = label_words({"a": " good", "b": " bad"}, prompt, tokenizer, backbone.speech, backbone, False)
        for word, text in ((found["a"], " good"), (found["b"], " bad")):
            ids = tokenizer(prompt[1] + text).input_ids
            assert list(word.tokens) == tokenizer.convert_ids_to_tokens(ids)[len(tokenizer(prompt[1]).input_ids) :]
    with pytest.raises(UserError, match=r"network\.prompt\.calibrate: an empty text has no token in this template"):
        label_words({"a": " good"}, ("", "nice"), tokenizer, backbone.speech, backbone, True)
