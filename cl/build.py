"""From a configuration to the things it names: corpora, stream, network, strategy."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from platformdirs import user_cache_path

from cl.config import Config, NetworkConfig, StreamConfig, did_you_mean, instantiate, locate
from cl.config.trainer import for_lightning
from cl.data.dataset import Store
from cl.data.encode import Encoder
from cl.data.sampler import derive_seed
from cl.evaluator import Evaluator
from cl.learner import Learner
from cl.models import backbone
from cl.models.network import Network
from cl.models.trial import longest_input, sees_padding
from cl.strategies import STRATEGIES
from cl.strategies.plugin import Plugin, Strategy
from cl.streams import check, protocols, scenarios
from cl.streams.doubts import unjoined
from cl.streams.holdout import hold_out
from cl.streams.identity import Identity, identity_of
from cl.streams.read import READERS, read_corpus, without_overlap
from cl.streams.stream import Stream
from cl.streams.toy import toy_ner, toy_sentiment
from cl.types import SPLITS, Corpus, Experience, UserError


@dataclass(frozen=True)
class Prepared:
    """What all cells of a grid share: the stream, read and encoded once, its tokenizer; and what to warn of.

    `identity`: what the data is; `encoded`: a hash of what the tokenizer makes of it.
    """

    stream: Stream
    evaluator: Evaluator
    warnings: list[str]
    tokenizer: Any
    identity: list[Identity]
    encoded: str


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
        known = did_you_mean(config.scenario, READS)
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


def prepare(config: Config, stream: Stream | None = None) -> Prepared:
    """Reads, checks and encodes the stream: once for all cells."""
    stream = build_stream(config.stream) if stream is None else stream
    if config.evaluate.split == "valid":
        stream = Stream(scenarios.for_selection(stream.experiences), stream.notes)
    if mistakes := data_errors(config, stream):
        raise UserError("the stream cannot be used:\n" + "\n".join(f"  - {mistake}" for mistake in mistakes))
    loaded, tokenizer = build_backbone(config.network, stream)
    store, lost = encode(config.network, stream.experiences, loaded, tokenizer)
    warnings = [*stream.notes, *check.warnings(stream.experiences), *lost]
    if loaded.first_position is None:
        warnings.append(f"{config.network.backbone} cannot pack batches: they are padded, and steps take longer")
    identity = identity_of(stream.experiences)
    return Prepared(stream, Evaluator(stream.experiences, store), warnings, tokenizer, identity, store.fingerprint())


def encode(
    config: NetworkConfig, experiences: Sequence[Experience], loaded: backbone.Backbone, tokenizer: Any
) -> tuple[Store, list[str]]:
    """What the network will see of a stream, and what to warn of there."""
    encoder = Encoder(tokenizer, config.max_length, user_cache_path("cl"), config.overflow)
    store = Store.build(experiences, encoder)
    warnings = [*store.warnings(), *encoder.notes]
    if sees_padding(loaded, config.max_length):
        warnings.append(
            f"{config.backbone} sees padding: what it says of a text depends on the other texts of its batch, so "
            "scores depend on evaluate.batch_size. Use another backbone, or batches of one"
        )
    return store, warnings


def data_errors(config: Config, stream: Stream) -> list[str]:
    """Mistakes in the data that a run cannot start with."""
    needs_valid = config.training.patience is not None or config.training.keep_best
    needs_valid |= config.evaluate.split == "valid"
    return check.errors(stream.experiences, needs_valid)


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


def build_strategy(plugins: dict[str, Any] | None, name: str) -> Strategy:
    """The strategy `strategies.<name>` from its plugins' options."""
    if plugins is not None and not isinstance(plugins, dict):
        raise UserError(
            f"strategies.{name}: write a mapping of plugins, such as {{ewc: {{strength: 100}}}}, not {plugins!r}"
        )
    built = {}
    for plugin, options in (plugins or {}).items():
        where = f"strategies.{name}.{plugin}"
        if options is not None and not isinstance(options, dict):
            raise UserError(f"{where}: write a mapping of options, such as {{strength: 100}}, not {options!r}")
        built[plugin] = instantiate(plugin_class(plugin, where), options, where)
    try:
        return Strategy(built)
    except UserError as error:
        raise UserError(f"strategies.{name}: {error}") from error


def build_learner(config: Config, prepared: Prepared, strategy: str, seed: int) -> Learner:
    """A fresh learner of one cell. Draws the network's weights from the seed (torch's global generator)."""
    torch.manual_seed(derive_seed(seed, "network"))
    loaded, _ = build_backbone(config.network, prepared.stream, prepared.tokenizer, tried=True)
    dropout = 0.1 if config.network.dropout is None else config.network.dropout
    network = Network(loaded, config.network.pooling, dropout, config.network.head)
    return Learner(
        network,
        build_strategy(config.strategies[strategy], strategy),
        prepared.evaluator,
        config.training,
        seed=seed,
        evaluate_batch_size=config.evaluate.batch_size,
        initial=config.evaluate.initial,
        max_epochs=config.trainer["max_epochs"],
        max_steps=config.trainer.get("max_steps"),
        limit_train_batches=config.trainer.get("limit_train_batches"),
        overfit_batches=config.trainer.get("overfit_batches") or None,
    )


def num_processes(trainer: dict[str, Any]) -> int:
    """How many processes Lightning trains a cell in; raises `UserError` for arguments that it refuses."""
    messages = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    messages.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return int(Trainer(**for_lightning(trainer)).world_size)
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"trainer: lightning refuses it: {error}") from error
    finally:
        messages.disabled = False


def plugin_class(name: str, where: str) -> type[Plugin]:
    """The plugin of a name of `STRATEGIES` or a dotted path; `where` names the place in errors."""
    if name in STRATEGIES:
        return STRATEGIES[name]
    if "." not in name:
        raise UserError(f"{where}: there is no plugin {name!r}.{did_you_mean(name, STRATEGIES)} Or a dotted path.")
    found = locate(name, where)
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        raise UserError(f"{where}: {name} is no subclass of cl.strategies.plugin.Plugin")
    return found


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
    corpora = _corpora(config, notes)
    notes += unjoined(corpora)
    return scenarios.by_corpus(corpora)


def _by_class(config: StreamConfig, notes: list[str], candidates: scenarios.Candidates = "seen") -> list[Experience]:
    """Class-incremental: a few classes an experience, all classes seen so far are candidates."""
    return scenarios.by_class(_corpora(config, notes), _sizes(config), config.class_order, candidates, config.seed)


def _by_task(config: StreamConfig, notes: list[str]) -> list[Experience]:
    """Task-incremental: a corpus or a few classes an experience, whose own classes alone are candidates."""
    if config.classes_per_experience is not None:
        return _by_class(config, notes, "own")
    if config.class_order:
        raise UserError("stream.class_order: without stream.classes_per_experience each corpus comes whole: drop it")
    return scenarios.by_corpus(_corpora(config, notes), "own")


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
    corpora = _corpora(config, notes)
    if len(corpora) != 1 or corpora[0].kind != "token":
        raise UserError(f"stream.corpora: the protocol {config.scenario} is for one corpus of kind token")
    return corpora[0]


def _corpora(config: StreamConfig, notes: list[str]) -> list[Corpus]:
    if not config.corpora:
        raise UserError(f"stream.corpora is empty: the scenario {config.scenario} needs at least one corpus")
    corpora, mistakes = [], []
    for number, entry in enumerate(config.corpora):
        try:
            corpora.append(_corpus({**config.defaults, **entry}, number, config))
        except UserError as error:
            mistakes.append(str(error))
    if mistakes:
        raise UserError("\n".join(mistakes))
    if config.drop_overlap:
        corpora = without_overlap(corpora)  # before a split is cut from what leaks, and after
    corpora = [hold_out(corpus, config.hold_out, config.seed) for corpus in corpora]
    if config.drop_overlap:
        corpora = without_overlap(corpora)
    notes += [note for corpus in corpora for note in corpus.notes]
    return corpora


def _corpus(entry: dict[str, Any], number: int, config: StreamConfig) -> Corpus:
    where = f"stream.corpora[{number}]"
    if missing := [key for key in ("name", "kind", "format", "train") if key not in entry]:
        raise UserError(f"{where}: the key {missing[0]!r} is missing")
    if entry["kind"] not in ("sequence", "token"):
        raise UserError(f"{where}.kind is {entry['kind']!r}; it is sequence or token")
    if (reads := str(entry["format"])) not in READERS:
        raise UserError(f"{where}.format: there is no reader {reads!r}.{did_you_mean(reads, READERS)}")
    ours = ("name", "kind", "format", *SPLITS)
    known = [*ours, *(f.name for f in fields(READERS[reads]))]  # type: ignore[arg-type]
    if unknown := [key for key in entry if key not in known]:
        raise UserError(f"{where}: there is no key {unknown[0]!r} with {reads}.{did_you_mean(str(unknown[0]), known)}")
    reader = instantiate(READERS[reads], {key: value for key, value in entry.items() if key not in ours}, where)
    root = None if reads == "datasets" else config.root
    paths = {str(name): entry[name] for name in SPLITS if entry.get(name)}
    if wrong := [name for name, path in paths.items() if not isinstance(path, str)]:
        raise UserError(f"{where}.{wrong[0]} is {paths[wrong[0]]!r}: give the path of one file")
    if root is not None:
        paths = {name: str(Path(root, path)) for name, path in paths.items()}
    return read_corpus(str(entry["name"]), entry["kind"], reader, paths)
