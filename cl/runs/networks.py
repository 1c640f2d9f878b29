"""From a configuration to its backbone and tokenizer."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable
from typing import Any

from cl.config import NetworkConfig
from cl.data.prompts import Template
from cl.models import adapters, backbone
from cl.models.trial import longest_input
from cl.models.verbaliser import LabelWord, doubts, label_words
from cl.types import Experience, UserError


def build_backbone(
    config: NetworkConfig, stream: Iterable[Experience], outline: bool = False
) -> tuple[backbone.Backbone, Any]:
    """The backbone and its tokenizer, which for `scratch` is one of the stream's words: once a run. `outline`: of a
    folder without weights, names and shapes alone.

    Raises `UserError` where it does not take `max_length` tokens.
    """
    most = num_positions(config)  # a mistake in the adapter is told before a large model is loaded
    if config.backbone == "scratch":
        tokenizer = backbone.tokenizer_of(_training_words(stream), config.scratch.vocabulary)
        return backbone.scratch(config.scratch, tokenizer, most, config.dropout, config.attention), tokenizer
    loaded, tokenizer = backbone.load(
        config.backbone,
        config.dropout,
        config.trust_remote_code,
        config.attention,
        config.dtype,
        config.quantize,
        outline,
        config.head == "verbaliser",
    )
    loaded.label_words = _label_words(config, loaded, tokenizer)
    if (num := most - config.max_length) and loaded.max_positions is not None and most > loaded.max_positions:
        raise UserError(
            f"network.adapter.tokens is {num}: with network.max_length, {config.max_length}, these are {most} tokens, "
            f"and {config.backbone} takes {loaded.max_positions} at most: lower one of them"
        )
    if (longest := longest_input(loaded, most)) < most:
        virtual = f", the {num} virtual ones of network.adapter among them" if num else ""
        raise UserError(
            f"network.max_length is {config.max_length}, but {config.backbone} takes {longest} tokens at most"
            f"{virtual}: lower it"
        )
    return loaded, tokenizer


def _label_words(config: NetworkConfig, loaded: backbone.Backbone, tokenizer: Any) -> dict[str, LabelWord]:
    """Those of a verbaliser, from the language model's head, which is let go; none for another readout."""
    speech, loaded.speech = loaded.speech, None
    if config.head != "verbaliser" or speech is None:
        return {}
    template, takes_off = Template.of(config.prompt.template), config.prompt.calibrate and not loaded.is_outline
    prompt = template.around(""), template.around("a text")
    return label_words(config.prompt.words, prompt, tokenizer, speech, loaded, takes_off)


def fresh_backbone(
    config: NetworkConfig, prepared: backbone.Backbone, tokenizer: Any, seed: int = 0
) -> backbone.Backbone:
    """A backbone for one cell: of the run's loaded one a copy, of `scratch` one with weights of its own (torch's global
    generator). With an adapter, drawn with `seed`, the weights are those of the loaded one itself.
    """
    if config.backbone == "scratch":
        base = backbone.scratch(
            config.scratch, tokenizer, num_positions(config), config.dropout, config.attention, prepared.facts
        )
    else:
        base = prepared if config.adapter else copy.deepcopy(prepared)
    own = with_adapter(config, base, seed)
    if config.gradient_checkpointing:
        own.checkpoint_gradients()
    return own


def with_adapter(config: NetworkConfig, base: backbone.Backbone, seed: int = 0) -> backbone.Backbone:
    """A backbone on the weights of `base` with the adapter that is asked for; `base` itself where none is.

    Raises `UserError` for an adapter that it cannot bear.
    """
    return adapters.adapted(base, adapters.read(config.adapter), seed) if config.adapter else base


def num_positions(config: NetworkConfig) -> int:
    """How many tokens the longest text has, virtual ones in front of it counted."""
    return config.max_length + (adapters.read(config.adapter).num_virtual if config.adapter else 0)


def network_notes(config: NetworkConfig, loaded: backbone.Backbone) -> list[str]:
    """What a user should hear of how the backbone is used."""
    notes = [*_outline_notes(config, loaded), *_attention_notes(config), *_adapter_notes(config, loaded)]
    return notes + doubts(loaded.label_words)


def _outline_notes(config: NetworkConfig, loaded: backbone.Backbone) -> list[str]:
    if not loaded.is_outline:
        return []
    return [
        f"the folder {config.backbone} holds no weights: this is what its config.json tells. cl run needs the weights, "
        "and tries whether batches can be packed; what batches take in memory is not counted here"
    ]


def _attention_notes(config: NetworkConfig) -> list[str]:
    if config.attention == "auto":
        return []
    export = "; a cell has no export then" if isinstance(config.attention, int) else ""
    return [
        f"network.attention is {config.attention}: a backbone that was trained with another attention must be trained "
        f"anew, all of it, to be of use{export}"
    ]


def _adapter_notes(config: NetworkConfig, loaded: backbone.Backbone) -> list[str]:
    if not config.adapter:
        return []
    adapter = adapters.read(config.adapter)
    notes = adapter.notes(loaded.model)
    if adapter.kind.exports == "nothing":
        notes.append(
            f"network.adapter: a cell with an adapter of kind {config.adapter['kind']} has no export; cl predict can "
            "use it"
        )
    if config.backbone == "scratch":
        notes.append("network.adapter: the weights of a scratch backbone are random, and with an adapter they stay so")
    return notes


def _training_words(stream: Iterable[Experience]) -> Counter[str]:
    """How often each word is in the training corpus of each experience, each distinct corpus read once."""
    corpora = [e.train.examples for e in stream]
    shared_by, words = Counter(map(id, corpora)), Counter[str]()
    for examples in {id(examples): examples for examples in corpora}.values():
        counts = backbone.count_words(backbone.words_of(examples.inputs))
        words.update({word: count * shared_by[id(examples)] for word, count in counts.items()})
    return words
