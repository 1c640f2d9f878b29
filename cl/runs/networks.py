"""From a configuration to its backbone and tokenizer."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable
from typing import Any

from cl.config import NetworkConfig
from cl.models import backbone
from cl.models.trial import longest_input
from cl.types import Experience, UserError


def build_backbone(config: NetworkConfig, stream: Iterable[Experience]) -> tuple[backbone.Backbone, Any]:
    """The backbone and its tokenizer, which for `scratch` is one of the stream's words: once a run.

    Raises `UserError` where it does not take `max_length` tokens.
    """
    if config.backbone == "scratch":
        tokenizer = backbone.tokenizer_of(_training_words(stream), config.scratch.vocabulary)
        return backbone.scratch(
            config.scratch, tokenizer, config.max_length, config.dropout, config.attention
        ), tokenizer
    loaded, tokenizer = backbone.load(
        config.backbone, config.dropout, config.trust_remote_code, config.attention, config.dtype
    )
    if (longest := longest_input(loaded, config.max_length)) < config.max_length:
        raise UserError(
            f"network.max_length is {config.max_length}, but {config.backbone} takes {longest} tokens at most: lower it"
        )
    return loaded, tokenizer


def fresh_backbone(config: NetworkConfig, prepared: backbone.Backbone, tokenizer: Any) -> backbone.Backbone:
    """A backbone for one cell: of the run's loaded one a copy, of `scratch` one with weights of its own (torch's global
    generator).
    """
    if config.backbone == "scratch":
        own = backbone.scratch(
            config.scratch, tokenizer, config.max_length, config.dropout, config.attention, prepared.facts
        )
    else:
        own = copy.deepcopy(prepared)
    if config.gradient_checkpointing:
        own.checkpoint_gradients()
    return own


def _training_words(stream: Iterable[Experience]) -> Counter[str]:
    """How often each word is in the training corpus of each experience, each distinct corpus read once."""
    corpora = [e.train.examples for e in stream]
    shared_by, words = Counter(map(id, corpora)), Counter[str]()
    for examples in {id(examples): examples for examples in corpora}.values():
        counts = backbone.count_words(backbone.words_of(examples.inputs))
        words.update({word: count * shared_by[id(examples)] for word, count in counts.items()})
    return words
