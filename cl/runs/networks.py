"""From a configuration to its backbone and tokenizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from cl.config import NetworkConfig
from cl.models import backbone
from cl.models.trial import longest_input
from cl.types import Experience, UserError


def build_backbone(
    config: NetworkConfig, stream: Iterable[Experience], tokenizer: Any = None, *, tried: bool = False
) -> tuple[backbone.Backbone, Any]:
    """The backbone and its tokenizer: for `scratch` the one given, if any, or one of the stream's words.

    `tried`: it is known that it takes `max_length` tokens; otherwise `UserError` where it does not.
    """
    if config.backbone == "scratch":
        if tokenizer is None:
            tokenizer = backbone.tokenizer_of(_training_words(stream), config.scratch.vocabulary)
        return backbone.scratch(config.scratch, tokenizer, config.max_length, config.dropout), tokenizer
    loaded, tokenizer = backbone.load(config.backbone, config.dropout, config.trust_remote_code)
    if not tried and (longest := longest_input(loaded, config.max_length)) < config.max_length:
        raise UserError(
            f"network.max_length is {config.max_length}, but {config.backbone} takes {longest} tokens at most: lower it"
        )
    return loaded, tokenizer


def _training_words(stream: Iterable[Experience]) -> Counter[str]:
    """How often each word is in the training corpus of each experience, each distinct corpus read once."""
    corpora = [e.train.examples for e in stream]
    shared_by, words = Counter(map(id, corpora)), Counter[str]()
    for examples in {id(examples): examples for examples in corpora}.values():
        counts = backbone.count_words(backbone.words_of(examples.inputs))
        words.update({word: count * shared_by[id(examples)] for word, count in counts.items()})
    return words
