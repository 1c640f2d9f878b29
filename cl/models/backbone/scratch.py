"""A small backbone from random weights, and a tokenizer of the words of a stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, BertConfig, BertModel, PreTrainedTokenizerFast

from cl.models.backbone.encoder import Backbone
from cl.models.backbone.facts import Facts
from cl.models.backbone.loading import DROPOUTS
from cl.models.options import Attention, Scratch

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def scratch(
    size: Scratch,
    tokenizer: Any,
    max_length: int,
    dropout: float | None = None,
    attention: Attention = "auto",
    facts: Facts | None = None,
) -> Backbone:
    """A small BERT with random weights (torch's global generator) for the words of a tokenizer."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=2 * size.hidden,
        max_position_embeddings=max_length,
        hidden_dropout_prob=0.1 if dropout is None else dropout,
        attention_probs_dropout_prob=0.1 if dropout is None else dropout,
        pad_token_id=0,
    )
    return Backbone(BertModel(config, add_pooling_layer=False), facts, attention)


def of_family(family: str, size: Scratch, **changes: Any) -> Backbone:
    """A model of a family of transformers, such as llama, with random weights (torch's global generator) and without
    dropout.

    `size`: its widths, depth and vocabulary; `changes`: more of its configuration.
    """
    config = AutoConfig.for_model(
        family,
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=2 * size.hidden,
        pad_token_id=0,
        **dict.fromkeys(DROPOUTS, 0.0),
        **changes,
    )
    if hasattr(config, "num_key_value_heads"):  # a family with grouped queries
        config.num_key_value_heads = max(1, size.heads // 2)
    return Backbone(AutoModel.from_config(config))  # type: ignore[no-untyped-call]


def word_pieces(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of every character and the most frequent words, a function of the texts alone.

    (A trained vocabulary could differ between processes; ranks and resumed runs must agree.)
    """
    return tokenizer_of(count_words(texts), size)


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word is in the texts."""
    normalizer, split = _word_splitter()
    return Counter(word for text in texts for word, _ in split.pre_tokenize_str(normalizer.normalize_str(text)))


def tokenizer_of(words: Counter[str], size: int) -> PreTrainedTokenizerFast:
    """The tokenizer of `word_pieces` for words that were counted already."""
    normalizer, split = _word_splitter()
    characters = sorted({character for word in words for character in word})
    frequent = sorted(words, key=lambda word: (-words[word], word))
    pieces = [*SPECIAL, *characters, *(f"##{c}" for c in characters), *frequent]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces[: max(size, 2 * len(characters) + 4)]))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, split
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    return _fast(tokenizer)


def tokenizer_from(text: str) -> PreTrainedTokenizerFast:
    """The tokenizer of `word_pieces` that was written as this text."""
    return _fast(Tokenizer.from_str(text))


def _fast(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, model_input_names=["input_ids", "token_type_ids", "attention_mask"], **names
    )


def _word_splitter() -> tuple[normalizers.Normalizer, pre_tokenizers.PreTokenizer]:
    return normalizers.BertNormalizer(lowercase=False, strip_accents=False), pre_tokenizers.BertPreTokenizer()


def words_of(inputs: Sequence[Any]) -> Iterable[str]:
    """Texts as they are, sentences and pairs joined by spaces."""
    return (text if isinstance(text, str) else " ".join(text) for text in inputs)
