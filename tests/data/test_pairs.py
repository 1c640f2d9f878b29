"""Pairs of texts: what the network sees of them is what transformers' own call gives it."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor

from cl.config import Config, load
from cl.data.collate import collate, concat
from cl.data.encode import Encoder
from cl.models.backbone import Backbone, word_pieces
from cl.models.network import Network
from cl.runs.inspection import check
from cl.runs.prepare import Prepared, prepare
from cl.streams.identity import identity_of
from cl.streams.read import READERS, read_corpus
from cl.streams.scenarios import by_corpus
from cl.types import Corpus, Examples, Pair, UserError

PAIRS = [
    Pair("a man sleeps", "nobody is awake"),
    Pair("two dogs run over a green field while it rains", "it rains"),
    Pair("it rains", "two dogs run over a green field while a man sleeps"),
    Pair("dogs run", "dogs sleep"),
]
LABELS = ["yes", "yes", "no", "no"]
LONGEST = 10
CONFIG = """
stream:
  scenario: domain
  defaults: {{kind: sequence, format: jsonl, text: [premise, claim], pair: true}}
  corpora: [{{name: nli, train: {0}, valid: {0}, test: {0}}}]
network: {{max_length: 10, pooling: first, dropout: 0.0, backbone: {1}}}
"""


def tokenizer() -> Any:
    return word_pieces([text for pair in PAIRS for text in pair], 200)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny BERT with random weights, and a file of pairs."""
    made = tokenizer()
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = hf.BertModel(hf.BertConfig(vocab_size=len(made), max_position_embeddings=32, **size))
    torch.nn.init.normal_(model.embeddings.token_type_embeddings.weight)  # far apart, so that a wrong type shows
    model.save_pretrained(tmp_path / "bert")
    made.save_pretrained(tmp_path / "bert")
    rows = [{"premise": a, "claim": b, "label": label} for (a, b), label in zip(PAIRS, LABELS, strict=True)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def configured(folder: Path, *overrides: str) -> Config:
    (folder / "c.yaml").write_text(CONFIG.format(folder / "pairs.jsonl", folder / "bert"))
    return load(folder / "c.yaml", [f"run.dir={folder}/run", *overrides])


def network_of(prepared: Prepared) -> Network:
    network = Network(prepared.backbone, "first").eval()
    network.grow(prepared.evaluator.store.views.classes[0], torch.Generator().manual_seed(0))
    return network


@torch.no_grad()
def by_transformers(folder: Path, network: Network) -> Tensor:
    """The logits of the head on what the model gives for `tokenizer(premises, claims)`."""
    made, model = hf.AutoTokenizer.from_pretrained(folder / "bert"), hf.AutoModel.from_pretrained(folder / "bert")
    firsts, seconds = map(list, zip(*PAIRS, strict=True))
    options = {"truncation": "longest_first", "max_length": LONGEST, "padding": True, "return_tensors": "pt"}
    inputs = made(firsts, seconds, **options)
    assert inputs["token_type_ids"].any()
    logits: Tensor = network.head("sequence")(model.eval()(**inputs).last_hidden_state[:, 0])
    return logits


@pytest.mark.parametrize("padded", [False, True])
def test_logits_are_those_of_transformers_own_call(folder: Path, padded: bool) -> None:
    prepared = prepare(configured(folder))
    network = network_of(prepared)
    assert prepared.backbone.first_position is not None
    batch = collate(prepared.evaluator.store.dataset(0, "train"), 0, training=False)
    with torch.no_grad(), prepared.backbone.padded() if padded else nullcontext():
        logits = network(batch)["sequence"].logits
    torch.testing.assert_close(logits, by_transformers(folder, network), rtol=0, atol=1e-5)


def test_a_batch_that_grows_keeps_its_types(folder: Path) -> None:
    """As with remembered examples, and when it moves to a device."""
    prepared = prepare(configured(folder))
    network, data = network_of(prepared), prepared.evaluator.store.dataset(0, "train")
    batch = concat(*(collate(data[torch.tensor(rows)], 0, training=False) for rows in ([3, 0], [1, 2])))
    with torch.no_grad():
        logits = network(batch.to(torch.device("cpu")))["sequence"].logits
    expected = by_transformers(folder, network)[[3, 0, 1, 2]]
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


def test_a_backbone_without_types_gets_none() -> None:
    size: dict[str, Any] = {"vocab_size": 99, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    takes = {
        "bert": Backbone(hf.BertModel(hf.BertConfig(**size))).takes_types,
        "roberta": Backbone(hf.RobertaModel(hf.RobertaConfig(**size, type_vocab_size=1))).takes_types,
        "distilbert": Backbone(
            hf.DistilBertModel(hf.DistilBertConfig(vocab_size=99, dim=8, n_layers=1, n_heads=2))
        ).takes_types,
    }
    assert takes == {"bert": True, "roberta": False, "distilbert": False}
    encoded = Encoder(tokenizer(), 32).encode(PAIRS, "sequence")
    assert not len(encoded.types) and len(encoded.ids)
    assert not len(Encoder(tokenizer(), 32, types=True).encode(["a man"], "sequence").types), "no pair, no types"


def test_the_longer_text_is_cut_first() -> None:
    made = tokenizer()
    encoded = Encoder(made, LONGEST, types=True).encode(PAIRS, "sequence")
    rows = [encoded.ids[a:b].tolist() for a, b in zip(encoded.offsets, encoded.offsets[1:], strict=False)]
    assert made.decode(rows[1]) == "[CLS] two dogs run over a [SEP] it rains [SEP]"
    assert made.decode(rows[2]) == "[CLS] it rains [SEP] two dogs run over a [SEP]"
    assert encoded.cut.tolist() == [False, True, True, False]
    assert encoded.num_tokens.tolist() == [9, 15, 16, 7]
    with pytest.raises(UserError, match="adds 3 special tokens to each pair of texts: give at least 5"):
        Encoder(made, 4).encode(PAIRS, "sequence")


def test_unknown_tokens_are_counted_in_both_texts() -> None:
    encoded = Encoder(tokenizer(), 32).encode([Pair("Ω man", "a Ω"), PAIRS[0]], "sequence")
    assert encoded.unknown.tolist() == [2, 0]


def test_both_texts_count_in_hashes_and_in_the_cache(tmp_path: Path) -> None:
    """Where one ends and the other begins too."""
    forms = [Pair("dogs run", "dogs sleep"), Pair("dogs", "run dogs sleep"), "dogs run dogs sleep"]
    examples = [Examples([form], ["yes"]) for form in forms]
    streams = [by_corpus([Corpus("nli", "sequence", dict.fromkeys(("train", "valid", "test"), e))]) for e in examples]
    assert len({str(identity_of(stream)) for stream in streams}) == 3
    encoder = Encoder(tokenizer(), 32, tmp_path, types=True)
    fresh = Encoder(tokenizer(), 32, types=True)
    for _ in range(2):
        for form in forms:
            found, expected = encoder.encode([form], "sequence"), fresh.encode([form], "sequence")
            assert (found.ids.tolist(), found.types.tolist()) == (expected.ids.tolist(), expected.types.tolist())


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "json"])
def test_readers_give_pairs(tmp_path: Path, form: str) -> None:
    file = tmp_path / "f"
    rows = [{"a": " dogs run", "b": "it rains ", "label": "yes"}, {"a": "a man", "b": "sleeps", "label": "no"}]
    mark = {"csv": ",", "tsv": "\t"}.get(form, "")
    table = "\n".join(mark.join(row) for row in [rows[0].keys(), *(row.values() for row in rows)])
    file.write_text({"jsonl": "\n".join(map(json.dumps, rows)), "json": json.dumps(rows)}.get(form, table))
    corpus = read_corpus("nli", "sequence", READERS[form](text=["a", "b"], pair=True), {"train": str(file)})
    assert corpus.splits["train"] == Examples([Pair("dogs run", "it rains"), Pair("a man", "sleeps")], ["yes", "no"])
    assert corpus.splits["train"].are_pairs
    joined = read_corpus("nli", "sequence", READERS[form](text=["a", "b"]), {"train": str(file)}).splits["train"]
    assert joined.inputs[1] == "a man sleeps" and not joined.are_pairs
    with pytest.raises(UserError, match=r"`pair: true` needs two text columns.*not 'a'"):
        read_corpus("nli", "sequence", READERS[form](text="a", pair=True), {"train": str(file)})


def test_half_a_pair_is_none(tmp_path: Path) -> None:
    (tmp_path / "f").write_text('{"a": "dogs run", "b": null, "label": "yes"}\n{"a": "x", "b": "y", "label": "no"}')
    reader = READERS["jsonl"](text=["a", "b"], pair=True)
    with pytest.raises(UserError, match="f:1: the text is empty"):
        reader.read(str(tmp_path / "f"))
    notes: list[str] = []
    READERS["jsonl"](text=["a", "b"], pair=True, skip_empty=True).parse(str(tmp_path / "f"), notes)
    assert notes == ["1 examples with an empty text are dropped, as `skip_empty` says"]
    with pytest.raises(UserError, match="`pair` is for texts, and `tokens` reads sentences"):
        READERS["jsonl"](tokens="a", pair=True).read(str(tmp_path / "f"))


def test_check_tells_of_pairs_and_refuses_windows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not check(configured(folder)).problems
    shown = capsys.readouterr().out
    assert "sequence, pairs" in shown and "12/16/16" in shown, "tokens of both texts"
    (problem,) = check(configured(folder, "network.overflow=split")).problems
    assert problem.startswith("network.overflow=split makes windows of single texts, and the examples of 'nli' are")
