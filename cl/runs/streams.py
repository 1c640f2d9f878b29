"""From a configuration to its stream: corpora, scenario, protocol."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields

from cl.config import StreamConfig, locate
from cl.runs.corpora import read_corpora
from cl.streams import protocols, scenarios
from cl.streams.doubts import unjoined
from cl.streams.stream import Stream
from cl.streams.toy import toy_ner, toy_sentiment
from cl.system.words import one_of
from cl.types import Corpus, Experience, UserError


def build_stream(config: StreamConfig) -> Stream:
    """The stream that a configuration names."""
    refuse_unread(config)
    notes: list[str] = []
    if "." in config.scenario:
        custom = _custom(config.scenario)
        experiences, notes = list(custom), list(custom.notes)
    else:
        experiences = (SCENARIOS | PROTOCOLS)[config.scenario](config, notes)
    if config.order:
        experiences = scenarios.reorder(experiences, config.order)
    return Stream(scenarios.limit(experiences, config.limit, config.seed), notes)


def refuse_unread(config: StreamConfig) -> None:
    """Raises `UserError` for an unknown scenario, and for options that are set and that the scenario does not read."""
    custom = "." in config.scenario
    if not custom and config.scenario not in READS:
        known = one_of(config.scenario, READS)
        raise UserError(f"stream.scenario: there is no scenario {config.scenario!r}.{known} Or a dotted path.")
    reads = ALWAYS | ({"seed"} if config.limit else set()) if custom else ALWAYS | READS[config.scenario]
    default = StreamConfig()
    unread = [
        f.name for f in fields(config) if f.name not in reads and getattr(config, f.name) != getattr(default, f.name)
    ]
    if unread:
        lines = (
            f"stream.{name}: the scenario {config.scenario} does not read it, it is for {_readers(name)}: remove it"
            for name in unread
        )
        raise UserError("\n".join(lines))


def _readers(option: str) -> str:
    return ", ".join(name for name, reads in READS.items() if option in reads)


def _custom(path: str) -> Stream:
    function = locate(path, "stream.scenario")
    if not callable(function):
        raise UserError(f"stream.scenario: {path} is no function that returns an Avalanche scenario")
    with suppress(ValueError):  # some built-in functions do not tell their arguments
        try:
            inspect.signature(function).bind()
        except TypeError as error:
            raise UserError(
                f"stream.scenario: {path} is called without arguments, and there is {error}: give it a default"
            ) from error
    return Stream.from_scenario(function())


def _toy(config: StreamConfig, notes: list[str]) -> list[Experience]:
    """The built-in stream: generated sentiment domains whose words conflict, then entity types one by one."""
    toy = config.toy
    if not toy.domains + toy.types:
        raise UserError("stream.toy: domains and types are both 0: give at least one of them")
    sizes = {"num_train": toy.num_train, "num_valid": max(2, toy.num_train // 4), "num_test": toy.num_test}
    experiences = []
    if toy.domains:
        experiences += scenarios.by_corpus(toy_sentiment(config.seed, num_domains=toy.domains, **sizes))
    if toy.types:
        # Each type comes with a share of the sentences of its own.
        sizes = {name: size * (toy.types if name == "num_train" else 1) for name, size in sizes.items()}
        experiences += scenarios.by_class([toy_ner(config.seed, num_types=toy.types, **sizes)], [1], seed=config.seed)
    return experiences


def _by_corpus(config: StreamConfig, notes: list[str]) -> list[Experience]:
    """Domain-incremental: a corpus an experience, labels shared by name (van de Ven & Tolias, 2019)."""
    corpora = read_corpora(config, notes)
    notes += unjoined(corpora)
    return scenarios.by_corpus(corpora)


def _by_class(config: StreamConfig, notes: list[str], candidates: scenarios.Candidates = "seen") -> list[Experience]:
    """Class-incremental: a few classes an experience, all classes seen so far are candidates."""
    return scenarios.by_class(read_corpora(config, notes), _sizes(config), config.class_order, candidates, config.seed)


def _by_task(config: StreamConfig, notes: list[str]) -> list[Experience]:
    """Task-incremental: a corpus or a few classes an experience, whose own classes alone are candidates."""
    if config.classes_per_experience is not None:
        return _by_class(config, notes, "own")
    if config.class_order:
        raise UserError("stream.class_order: without stream.classes_per_experience each corpus comes whole: drop it")
    return scenarios.by_corpus(read_corpora(config, notes), "own")


def _cfner(config: StreamConfig, notes: list[str]) -> list[Experience]:
    """Class-incremental NER with disjoint training sentences; FG-a-PG-b is `classes_per_experience: [a, b]`.

    Zheng et al., 2022: Distilling causal effect from miscellaneous other-class for continual named entity recognition
    """
    return protocols.cfner(_sentences(config, notes), _sizes(config), config.seed)


def _acl24(config: StreamConfig, notes: list[str]) -> list[Experience]:
    """As cfner, without the sentences of valid and test that hold no entity.

    Zheng, Qiu & Ma, 2024: Learn or recall? Revisiting incremental learning with pre-trained language models
    """
    return protocols.acl24(_sentences(config, notes), _sizes(config), config.seed)


Builder = Callable[[StreamConfig, list[str]], list[Experience]]


SCENARIOS: dict[str, Builder] = {"toy": _toy, "domain": _by_corpus, "class": _by_class, "task": _by_task}


PROTOCOLS: dict[str, Builder] = {"cfner": _cfner, "acl24": _acl24}


_NEWS = "{name: news, kind: token, format: columns, train: train.conll, valid: dev.conll, test: test.conll}"


EXAMPLES: dict[str, str] = {
    "toy": "{scenario: toy, toy: {domains: 2, types: 2}}",
    "domain": "{scenario: domain, root: data, defaults: {kind: sequence, format: tsv, text: 0, label: 1}, corpora: "
    "[{name: books, train: books.tsv}, {name: music, train: music.tsv}]}",
    "class": f"{{scenario: class, classes_per_experience: [4, 2], corpora: [{_NEWS}]}}",
    "task": "{scenario: task, defaults: {kind: sequence, format: csv}, corpora: [{name: bank, train: bank.csv}, {name: "
    "travel, train: travel.csv}]}",
    "cfner": f"{{scenario: cfner, classes_per_experience: [2, 1], corpora: [{_NEWS}]}}",
    "acl24": f"{{scenario: acl24, classes_per_experience: 2, corpora: [{_NEWS}]}}",
}
"""The section `stream` of a configuration, for each scenario."""


FILES = frozenset({"corpora", "defaults", "root", "hold_out", "drop_overlap", "seed"})


ALWAYS = frozenset({"scenario", "order", "limit"})


READS: dict[str, frozenset[str]] = {
    "toy": frozenset({"toy", "seed"}),
    "domain": FILES,
    "class": FILES | {"classes_per_experience", "class_order"},
    "task": FILES | {"classes_per_experience", "class_order"},
    "cfner": FILES | {"classes_per_experience"},
    "acl24": FILES | {"classes_per_experience"},
}
"""The options of `stream` that each scenario reads, besides those that all read. (`limit` draws from the seed too.)"""


def _sizes(config: StreamConfig) -> list[int]:
    sizes = config.classes_per_experience
    sizes = [sizes] if isinstance(sizes, int) else sizes
    if not isinstance(sizes, list) or not sizes or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise UserError(
            f"stream.classes_per_experience is {config.classes_per_experience!r}: give a positive number, or a list of "
            "them, whose last one goes on"
        )
    return sizes


def _sentences(config: StreamConfig, notes: list[str]) -> Corpus:
    """The one corpus of a protocol of NER, whose types come in alphabetical order."""
    corpora = read_corpora(config, notes)
    if len(corpora) != 1 or corpora[0].kind != "token":
        raise UserError(f"stream.corpora: the protocol {config.scenario} is for one corpus of kind token")
    return corpora[0]
