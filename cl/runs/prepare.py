"""What all cells of a grid share: the stream, read, checked and encoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from cl.config import Config, NetworkConfig
from cl.data.dataset import Store
from cl.data.encode import Encoder
from cl.evaluation.evaluator import Evaluator
from cl.models.backbone import Backbone
from cl.models.trial import sees_padding
from cl.runs.networks import build_backbone, network_notes, with_adapter
from cl.runs.streams import build_stream
from cl.streams import check, scenarios
from cl.streams.identity import Identity, identity_of
from cl.streams.stream import Stream
from cl.system.words import listed, one_of
from cl.types import Experience, UserError


@dataclass(frozen=True)
class Prepared:
    """What all cells of a grid share: the stream, read and encoded once, the backbone as it was loaded, its tokenizer;
    and what to warn of.

    `identity`: what the data is; `encoded`: a hash of what the tokenizer makes of it. `described`: whether the
    configuration says what the stream is; it does not where one was made in Python.
    """

    stream: Stream
    evaluator: Evaluator
    backbone: Backbone
    warnings: list[str]
    tokenizer: Any
    identity: list[Identity]
    encoded: str
    described: bool


def prepare(config: Config, stream: Stream | None = None) -> Prepared:
    """Reads, checks and encodes the stream: once for all cells."""
    described = stream is None
    stream = as_scored(config, build_stream(config.stream) if stream is None else stream)
    if mistakes := data_errors(config, stream):
        raise UserError("the stream cannot be used:\n" + "\n".join(f"  - {mistake}" for mistake in mistakes))
    loaded, tokenizer = build_backbone(config.network, stream)
    with_adapter(config.network, loaded)  # one that it cannot bear is told before all else
    store, lost = encode(config.network, stream.experiences, loaded, tokenizer)
    warnings = [*stream.notes, *check.warnings(stream.experiences), *lost, *network_notes(config.network, loaded)]
    if loaded.first_position is None:
        warnings.append(f"{config.network.backbone} cannot pack batches: they are padded, and steps take longer")
    identity = identity_of(stream.experiences)
    evaluator = Evaluator(stream.experiences, store)
    return Prepared(stream, evaluator, loaded, warnings, tokenizer, identity, store.fingerprint(), described)


def as_scored(config: Config, stream: Stream) -> Stream:
    """The stream as a run sees it: with validation examples for a test split, where options are chosen by them."""
    if config.evaluate.split != "valid":
        return stream
    return Stream(scenarios.for_selection(stream.experiences), stream.notes)


def encode(
    config: NetworkConfig, experiences: Sequence[Experience], loaded: Backbone, tokenizer: Any
) -> tuple[Store, list[str]]:
    """What the network will see of a stream, and what to warn of there."""
    encoder = encoder_for(config, loaded, tokenizer, user_cache_path("cl"))
    store = Store.build(experiences, encoder)
    warnings = [*store.warnings(), *encoder.notes]
    if sees_padding(loaded, config.max_length):
        warnings.append(
            f"{config.backbone} sees padding: what it says of a text depends on the other texts of its batch, so "
            "scores depend on evaluate.batch_size. Use another backbone, or batches of one"
        )
    return store, warnings


def encoder_for(config: NetworkConfig, loaded: Backbone, tokenizer: Any, cache: Path | None) -> Encoder:
    """What makes tokens of texts for a network, with a folder to keep them in or none."""
    word = config.word
    if word == "auto":
        word = "last" if loaded.is_causal else "first"
    return Encoder(
        tokenizer, config.max_length, cache, config.overflow, loaded.takes_types, word, config.prompt.template
    )


def data_errors(config: Config, stream: Stream) -> list[str]:
    """Mistakes in the data that a run cannot start with."""
    needs_valid = config.training.patience is not None or config.training.keep_best
    needs_valid |= config.evaluate.split == "valid"
    mistakes = [*_split_pairs(config, stream), *_prompt_mistakes(config.network, stream)]
    return mistakes + check.errors(stream.experiences, needs_valid)


def _split_pairs(config: Config, stream: Stream) -> Iterator[str]:
    pairs = [experience.name for experience in stream if experience.train.examples.are_pairs]
    if pairs and config.network.overflow == "split":
        yield (
            f"network.overflow=split makes windows of single texts, and the examples of {listed(pairs, 3)} are pairs: "
            "set network.overflow=cut, or drop the reader's `pair`"
        )


def _prompt_mistakes(config: NetworkConfig, stream: Stream) -> Iterator[str]:
    sequences = [experience for experience in stream if experience.kind == "sequence"]
    pairs = [experience.name for experience in sequences if experience.train.examples.are_pairs]
    if pairs and config.prompt.template:
        yield (
            f"network.prompt.template stands around single texts, and the examples of {listed(pairs, 3)} are pairs: "
            "leave it out, or make one text of each pair"
        )
    if config.head != "verbaliser":
        return
    if not sequences:
        yield "network.head is verbaliser, and the stream has words to be tagged alone, no texts: leave it out"
        return
    classes = list(dict.fromkeys(name for experience in sequences for name in experience.classes))
    if silent := [name for name in classes if name not in config.prompt.words]:
        yield f"network.prompt.words has no word for {listed(silent, 5)}: a verbaliser needs one for each class"
    for name in config.prompt.words:
        if name not in classes:
            yield f"network.prompt.words.{name}: no text has this class.{one_of(name, classes)}"
