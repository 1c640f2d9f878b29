"""Words have the sub-tokens of running text, whatever the form of the tokenizer."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import ModernBertConfig, ModernBertModel, PreTrainedTokenizerFast, RobertaTokenizerFast

from cl.data.dataset import Store
from cl.data.encode import Encoder
from cl.models.backbone import load, word_pieces
from cl.streams.scenarios import by_corpus
from cl.types import SPLITS, Corpus, Examples

TEXTS = [
    "Hello world from Paris in 1999 , it 's X-ray",
    "Anna Smith went to Rome ( 12.5 % ) and Paris",
    "북 경 naïve straße",
]
SENTENCES = [text.split() for text in TEXTS] + [["Paris"], ["New York", "is", "far"], ["'", "'s", "don't", "!?"], []]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
BYTES = pre_tokenizers.ByteLevel.alphabet()
GPT4 = Regex(r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+")


def fast(tokenizer: Tokenizer, trainer: Any, before: Any = None, normalizer: Any = None, form: Any = None) -> Any:
    if before is not None:
        tokenizer.pre_tokenizer = before
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator([*TEXTS, *(f" {text}" for text in TEXTS)] * 20, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return (form or PreTrainedTokenizerFast)(tokenizer_object=tokenizer, **names)


def byte_level(*before: Any, prefix: bool = False, regex: bool = True, form: Any = None) -> Any:
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=BYTES, show_progress=False)
    steps = [*before, pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)]
    return fast(Tokenizer(models.BPE()), trainer, pre_tokenizers.Sequence(steps), form=form)


def metaspace(scheme: str, unigram: bool = False, split: bool = False) -> Any:
    before: Any = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    if split:
        before = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), before])
    if unigram:
        options = {"vocab_size": 100, "special_tokens": SPECIAL, "unk_token": "<unk>", "show_progress": False}
        return fast(Tokenizer(models.Unigram()), trainers.UnigramTrainer(**options), before, normalizers.NFKC())
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False)
    return fast(Tokenizer(models.BPE(unk_token="<unk>")), trainer, before)


def words_and_spaces() -> Any:
    trainer = trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False)
    return fast(Tokenizer(models.WordLevel(unk_token="<unk>")), trainer, pre_tokenizers.WhitespaceSplit())


FORMS: dict[str, Callable[[], Any]] = {
    "WordPiece": lambda: word_pieces(TEXTS, 150),
    "WordLevel": words_and_spaces,
    "byte-level": byte_level,
    "byte-level, prefix space": lambda: byte_level(prefix=True),
    "byte-level, RoBERTa's class": lambda: byte_level(form=partial(RobertaTokenizerFast, add_prefix_space=True)),
    "digits, byte-level": lambda: byte_level(pre_tokenizers.Digits(individual_digits=True)),
    "digits, byte-level, prefix space": lambda: byte_level(pre_tokenizers.Digits(individual_digits=True), prefix=True),
    "a regular expression, byte-level": lambda: byte_level(pre_tokenizers.Split(GPT4, "isolated"), regex=False),
    "Metaspace, always": lambda: metaspace("always"),
    "Metaspace, first": lambda: metaspace("first"),
    "Metaspace, never": lambda: metaspace("never"),
    "Unigram, always": lambda: metaspace("always", unigram=True),
    "Unigram, always, split at blanks": lambda: metaspace("always", unigram=True, split=True),
    "Unigram, never": lambda: metaspace("never", unigram=True),
}


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_tokens_of_words_are_those_of_running_text(make: Callable[[], Any]) -> None:
    encoder = Encoder(make(), 64)
    draw = random.Random(0)
    pool = [word for words in SENTENCES for word in words]
    for words in [*SENTENCES, *([draw.choice(pool) for _ in range(9)] for _ in range(20))]:
        encoded, text = encoder.encode([words], "token"), encoder.encode([" ".join(words)], "sequence")
        starts = encoded.positions.tolist()
        assert len(starts) == len(words)
        assert starts == sorted(set(starts) - {-1}), "each word has a first sub-token of its own"
        assert encoded.ids.tolist() == text.ids.tolist()
        assert not encoded.word_by_word.any()


def test_a_word_starts_where_running_text_has_it() -> None:
    tokenizer = byte_level()
    encoded = Encoder(tokenizer, 64).encode([["Hello", "world", "from", "Paris"]], "token")
    tokens = tokenizer.convert_ids_to_tokens(encoded.ids)
    assert [tokens[start] for start in encoded.positions] == ["Hello", "Ġworld", "Ġfrom", "ĠParis"]


@pytest.mark.parametrize(
    "form",
    [
        "WordPiece",
        "WordLevel",
        "byte-level, prefix space",
        "Metaspace, always",
        "Unigram, always",
        "Unigram, always, split at blanks",
    ],
)
@pytest.mark.parametrize("limit", [7, 64])
def test_where_words_one_by_one_are_right_nothing_moved(form: str, limit: int) -> None:
    """Ids and starts of published runs: what the tokenizer itself gives for split words."""
    tokenizer = FORMS[form]()
    encoded = Encoder(tokenizer, limit).encode(SENTENCES, "token")
    for i, words in enumerate(SENTENCES):
        expected = tokenizer(words, is_split_into_words=True, truncation=True, max_length=limit)
        assert encoded.ids[encoded.offsets[i] : encoded.offsets[i + 1]].tolist() == expected["input_ids"]
        places = [expected.encodings[0].word_to_tokens(word) for word in range(len(words))]
        starts = [-1 if place is None else place[0] for place in places]
        assert encoded.positions[encoded.word_offsets[i] : encoded.word_offsets[i + 1]].tolist() == starts


@pytest.mark.parametrize("form", FORMS)
def test_words_without_a_sub_token_stand_as_unknown(form: str) -> None:
    tokenizer = FORMS[form]()
    sentences = [["Paris", "", "Rome"], ["", "", "Anna", ""], ["", ""]]
    encoded = Encoder(tokenizer, 64, word="last").encode(sentences, "token")
    assert encoded.unknown.tolist() == [1, 3, 2]
    for i, words in enumerate(sentences):
        row = encoded.ids[encoded.offsets[i] : encoded.offsets[i + 1]]
        positions = encoded.positions[encoded.word_offsets[i] : encoded.word_offsets[i + 1]]
        assert (row[positions] == tokenizer.unk_token_id).tolist() == [word == "" for word in words]
        assert positions.tolist() == sorted(set(positions.tolist())), "in the order of the words"
        assert positions[0] > 0
        assert positions[-1] == len(row) - 2, "before what ends a text"


@pytest.mark.parametrize("form", FORMS)
def test_what_the_vocabulary_has_not_is_counted(form: str) -> None:
    """Most tokenizers give such a word the unknown token, which is a sub-token as any; bytes know every word."""
    encoder = Encoder(FORMS[form](), 64)
    expected = [0, 0] if "byte-level" in form else [1, 2]
    assert encoder.encode([["Paris", "☃", "Rome"], ["☃", "went", "☃"]], "token").unknown.tolist() == expected
    assert encoder.encode(["Paris ☃ Rome", "☃ went ☃"], "sequence").unknown.tolist() == expected


def test_the_token_that_ends_a_text_is_not_an_unknown_word() -> None:
    """GPT-2 has one token for both."""
    tokenizer = byte_level()
    tokenizer.unk_token = "</s>"
    assert Encoder(tokenizer, 64).encode(["Paris", "Rome"], "sequence").unknown.tolist() == [0, 0]


def test_where_it_cannot_hold_it_is_told() -> None:
    """A tokenizer that makes one token of several words: each keeps tokens of its own, and a warning says so."""
    encoder = Encoder(byte_level(regex=False), 64)
    words = SENTENCES[0]
    encoded = encoder.encode([words], "token")
    assert encoded.word_by_word.tolist() == [True]
    assert len(set(encoded.positions.tolist()) - {-1}) == len(words)
    ner = Examples([words], [["O"] * len(words)])
    warnings = Store.build(by_corpus([Corpus("n", "token", dict.fromkeys(SPLITS, ner))]), encoder).warnings()
    assert any("1 sentences are not encoded as running text is" in warning for warning in warnings)


@pytest.mark.parametrize("name", ["TokenizersBackend", "PreTrainedTokenizerFast"])
def test_a_saved_byte_level_tokenizer_without_a_class_of_its_own(tmp_path: Path, name: str) -> None:
    tokenizer = byte_level()
    tokenizer.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": name}))
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2}
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ModernBertModel(ModernBertConfig(vocab_size=len(tokenizer), **size, **ids)).save_pretrained(tmp_path)
    _, loaded = load(str(tmp_path))
    encoded = Encoder(loaded, 64).encode([["Hello", "world", "from", "Paris"]], "token")
    tokens = loaded.convert_ids_to_tokens(encoded.ids)
    assert tokens[2:] == ["Ġworld", "Ġfrom", "ĠParis", "</s>"]
