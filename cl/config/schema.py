"""The schema of a configuration, and what its values may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import reduce
from math import inf
from typing import Any, Literal

from omegaconf import OmegaConf

from cl.config import trainer
from cl.data.running import MEET
from cl.data.windows import Overflow
from cl.models.options import AskedPooling, Precision, ReadoutName, Scratch, Word
from cl.system.words import one_of
from cl.training.recipe import Training
from cl.types import SPLITS

Mode = Literal["online", "offline", "disabled"]
Keep = Literal["final", "none", "all"]


@dataclass
class RunConfig:
    """Where results go."""

    dir: str | None = None
    """The run folder; null is runs/<name of the config>."""
    overwrite: bool = False
    """Discard the cells that are asked for, if they are there, and start them anew."""
    checkpoint_steps: int = 0
    """Save a checkpoint every so many optimizer steps; 0: as often as takes 1 % of the run time."""
    keep: Keep = "final"
    """Which checkpoints of a finished cell stay: the final one, none, or all that end an experience."""


@dataclass
class ToyConfig:
    """The built-in stream: domains of sentiment, then types of entities one by one."""

    domains: int = 4
    """Sentiment domains whose words conflict."""
    types: int = 3
    """Entity types, each labelled alone."""
    num_train: int = 300
    """Training examples of each domain, and about as many of each entity type."""
    num_test: int = 200
    """Test examples of an experience."""


@dataclass
class StreamConfig:
    """The experiences. Options that the scenario does not read are refused."""

    scenario: str = "toy"
    """toy, domain, class, task, a protocol (cfner, acl24), or the dotted path of a function that returns an Avalanche
    scenario."""
    corpora: list[dict[str, Any]] = field(default_factory=list)
    """A mapping each: name, kind, format, train, valid, test and options of the format (see `cl streams FORMAT`). A
    split is a path, a pattern such as part-*.csv, or a list of them. With `each: column` every value of a column is a
    corpus of its own, called by it (after `name` and a dash, if there is a name)."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """What all corpora share."""
    root: str | None = None
    """The folder that relative paths of corpora start from; null: the current one."""
    classes_per_experience: Any = None
    """How many new classes (entity types) each experience brings: a number, or a list such as [4, 2], whose last number
    holds for all experiences after it."""
    class_order: list[str] = field(default_factory=list)
    """The classes in the order in which they arrive; empty: the alphabet's."""
    order: list[str] = field(default_factory=list)
    """The names of the experiences in the order in which they come; empty: as the scenario makes them."""
    limit: dict[str, int] = field(default_factory=dict)
    """At most so many examples of a split in each experience, such as {train: 500, test: 200}."""
    hold_out: dict[str, float] = field(default_factory=lambda: {"valid": 0.1, "test": 0.2})
    """Where a corpus has no file for a split, the share of its training examples that becomes that split instead,
    class by class."""
    drop_overlap: bool = False
    """Drop from train and valid each example that is in a test split too, of the same or another corpus."""
    seed: int = 0
    """The seed of every random choice above. `seeds` does not change it: all runs see the same data."""
    toy: ToyConfig = field(default_factory=ToyConfig)


@dataclass
class PromptConfig:
    """What a language model is asked for each text of the kind sequence, and what its answers mean. Sentences whose
    words are tagged stand alone.
    """

    template: str = ""
    """What stands around a text, such as "Review: {text} Sentiment:"; empty: nothing. Where both are longer than
    network.max_length, the text loses its end, the template never."""
    words: dict[str, str] = field(default_factory=dict)
    """With network.head=verbaliser, the word that says each class, such as {positive: " good"}; most vocabularies have
    a token of its own for a word with the space before it. Of a word of several tokens the first is read."""
    calibrate: bool = False
    """With network.head=verbaliser: begin with what the model says of an empty text taken off each class's logit (Zhao
    et al., 2021: Calibrate before use)."""


@dataclass
class NetworkConfig:
    """The network. With `overflow: split` each window counts as an example in batches and buffers. The windows of a
    sentence share half their tokens: each word is labelled once, in the window that shows more of what stands around
    it. Those of a text (kind sequence) all have its label in training; in scores their mean logits decide.
    """

    backbone: str = "scratch"
    """A hub id, a local folder, or scratch: a small BERT with random weights."""
    dropout: float | None = None
    """Replaces every dropout rate of the backbone; null keeps them."""
    max_length: int = 128
    """Tokens of an example at most, special ones included."""
    overflow: Overflow = "cut"
    """What becomes of longer ones: cut drops their end, split reads them in windows."""
    attention: Any = "auto"
    """Which tokens a token sees: auto as the backbone is made; causal, those before it; bidirectional, all; a number:
    all, from this layer on (the first is 0). A decoder without its causal mask must be trained anew to be any good."""
    pooling: AskedPooling = "auto"
    """The feature of a text: the mean over its tokens, the first token's, or the last's; auto is mean, and last under
    causal attention, where only the last token has seen the whole text."""
    word: Word = "auto"
    """The feature of a word: that of its first sub-token, or of its last; auto is first, and last under causal
    attention, where only the last has seen the whole word."""
    head: ReadoutName = "linear"
    """linear; or cosine, a learnt scale times the cosine of feature and class; or verbaliser, which for texts begins
    with the language model's own rows for the words of `prompt.words`, and is linear for tags."""
    prompt: PromptConfig = field(default_factory=PromptConfig)
    dtype: Precision = "float32"
    """The precision in which a backbone is loaded, float32 or bfloat16. bfloat16 takes half the memory and is meant for
    weights that do not train: small steps of training are lost in it."""
    quantize: dict[str, Any] = field(default_factory=dict)
    """Weights of 4 or 8 bits under an adapter, such as {load_in_4bit: true}: fields of BitsAndBytesConfig, as
    transformers documents them. It needs a GPU and the package bitsandbytes."""
    cache_mb: int = 1000
    """Megabytes, at most, for what layers below all that trains make of examples, where they draw no dropout: half for
    those of an experience, in all its epochs, half for those that all experiences are scored on. The longest are left
    out first. 0: no cache."""
    gradient_checkpointing: bool = False
    """Keep only the inputs of layers for the backward pass and compute the rest anew: less memory, more time."""
    adapter: dict[str, Any] = field(default_factory=dict)
    """Small parameters that train in place of the backbone's, such as {kind: lora, r: 8, alpha: 16, target:
    all-linear}; empty: the whole backbone trains. `kind` is lora, ia3, ln-tuning (norms), bitfit (biases), bottleneck
    (size, placement: houlsby or pfeiffer), or one of virtual tokens before each text: prompt, p-tuning or prefix
    (tokens: how many, 20). All but bitfit and bottleneck take the options of their configuration in PEFT by name, in
    short r, alpha, dropout and target (all-linear, or ends of names of modules). `layers` is what saves time: 24-29,
    [0, 3], or -6 for the last six; the backward pass ends at the lowest layer that is adapted. Virtual tokens are in
    all layers; they and max_length share the backbone's positions."""
    trust_remote_code: bool = False
    """Let transformers run code that comes with the backbone."""
    scratch: Scratch = field(default_factory=Scratch)


@dataclass
class EvaluateConfig:
    """What scores are measured on."""

    split: Literal["test", "valid"] = "test"
    """test; or valid, to choose options by: test is then never read."""
    initial: bool = False
    """Score every experience before any training too, for forward transfer."""
    batch_size: int = 64
    """Examples of a batch on each rank."""
    predictions: bool = False
    """Keep what was predicted on the split after each experience, and what was mistaken for what: `cl errors`."""


@dataclass
class WandbConfig:
    """Weights & Biases. Where nothing is set, W&B's own variables hold (`WANDB_PROJECT`, `WANDB_TAGS`, …); without
    either the project is `cl`. A run's group is the name of the run folder, its job type the strategy and its name the
    cell's: `WANDB_RUN_GROUP`, `WANDB_JOB_TYPE` and `WANDB_NAME` replace them.
    """

    mode: Mode | None = None
    """online, offline or disabled; null is online where a login is found, else offline."""
    project: str | None = None
    """The project."""
    entity: str | None = None
    """The team or user."""
    tags: list[str] = field(default_factory=list)
    """Tags of each run."""


@dataclass
class Config:
    """One question: a stream, a network, training, and named strategies × seeds."""

    run: RunConfig = field(default_factory=RunConfig)
    seeds: list[int] = field(default_factory=lambda: [0])
    """One run of each strategy a seed: of weights, order of examples, draws of plugins. A number alone is that seed."""
    stream: StreamConfig = field(default_factory=StreamConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    strategies: dict[str, Any] = field(default_factory=dict)
    """name → {plugin: {option: value}}, the plugins in order; an empty mapping is finetuning, the default. A plugin is
    a name of `cl plugins` or a dotted path."""
    training: Training = field(default_factory=Training)
    trainer: dict[str, Any] = field(default_factory=dict)
    """Arguments of lightning.Trainer, with the meaning that it documents; those that have no place here are refused."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)


VIRTUAL = ("prompt", "p-tuning", "prefix")  # kinds of adapters that put virtual tokens before a text
# The least and the greatest that numbers may be; in a list or a mapping, each of them.
RANGES: dict[str, tuple[float, float]] = {
    "run.checkpoint_steps": (0, inf),
    "seeds": (0, inf),
    "stream.limit": (1, inf),
    "stream.hold_out": (0, 0.9),
    "stream.toy.domains": (0, 10),
    "stream.toy.types": (0, 6),
    "stream.toy.num_train": (1, inf),
    "stream.toy.num_test": (1, inf),
    "network.dropout": (0, 1),
    "network.max_length": (3, inf),  # two special tokens and one of the text
    "network.cache_mb": (0, inf),
    "network.scratch": (1, inf),
    "training.batch_size": (1, inf),
    "training.batch_tokens": (1, inf),
    "training.learning_rate": (0, inf),
    "training.momentum": (0, 1),
    "training.head_learning_rate": (0, inf),
    "training.later_learning_rate": (0, inf),
    "training.weight_decay": (0, inf),
    "training.warmup": (0, 1),
    "training.patience": (1, inf),
    "evaluate.batch_size": (1, inf),
}


def to_yaml(config: Config) -> str:
    """The configuration as YAML."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def problems(config: Config) -> Iterator[tuple[str, str]]:
    """Keys, and what is wrong with their values."""
    values = asdict(config)
    for key, (least, most) in RANGES.items():
        for name, value in _numbers(key, reduce(dict.__getitem__, key.split("."), values)):
            if not isinstance(value, int | float) or not least <= value <= most:
                yield name, f" is {value!r}: give a number from {least} {'up' if most == inf else f'to {most}'}"
    if len(set(config.seeds)) < max(1, len(config.seeds)):
        yield "seeds", f" is {config.seeds}: give at least one, none of them twice"
    for key, splits in (("limit", SPLITS), ("hold_out", SPLITS[1:])):
        for split in getattr(config.stream, key):
            if split not in splits:
                yield f"stream.{key}.{split}", f": there is no such split here.{one_of(split, splits)}"
    if (total := sum(config.stream.hold_out.values())) > 1:
        yield "stream.hold_out", f" takes {total:.0%} of train in all: leave some of it to train on"
    if config.training.batch_tokens is not None and not config.training.shuffle:
        yield "training.batch_tokens", " makes batches of like lengths, and training.shuffle=false: drop one of them"
    if (asked := config.network.attention) not in ("auto", "causal", "bidirectional") and (
        not isinstance(asked, int) or isinstance(asked, bool) or asked < 0
    ):
        yield "network.attention", f" is {asked!r}: give auto, causal, bidirectional, or the number of a layer"
    yield from _prompt_problems(config.network)
    scratch = config.network.scratch
    if scratch.hidden % max(1, scratch.heads):
        yield (
            "network.scratch.hidden",
            f" is {scratch.hidden}: give a multiple of network.scratch.heads, {scratch.heads}",
        )
    if config.network.adapter and str(config.trainer.get("precision")) in ("bf16-true", "16-true"):
        yield (
            "trainer.precision",
            f" is {config.trainer['precision']}, which rounds the adapter after each step until small steps vanish: "
            f"give {str(config.trainer['precision']).replace('true', 'mixed')}",
        )
    if config.network.dtype == "bfloat16" and str(config.trainer.get("precision")) == "64-true":
        yield "network.dtype", " is bfloat16 and trainer.precision is 64-true: give one of them, not both"
    if config.network.quantize and (config.network.backbone == "scratch" or not config.network.adapter):
        yield (
            "network.quantize",
            ": weights of 4 or 8 bits do not train: give a pretrained network.backbone, and what trains instead of it "
            "as network.adapter",
        )
    yield from trainer.problems(config.trainer)
    for name in config.strategies:
        if not name or "/" in name or name.startswith("."):
            yield f"strategies.{name}", ": the name becomes a folder and may not hold '/' or begin with '.'"


def _prompt_problems(network: NetworkConfig) -> Iterator[tuple[str, str]]:
    template, is_verbaliser = network.prompt.template, network.head == "verbaliser"
    if template and template.count("{text}") != 1:
        yield "network.prompt.template", f" is {template!r}: write {{text}} once, where the text is to stand"
    if is_verbaliser and network.backbone == "scratch":
        yield "network.head", " is verbaliser, and a scratch backbone is no language model: name a pretrained decoder"
    if is_verbaliser and network.pooling in ("mean", "first"):
        yield "network.pooling", f" is {network.pooling}, and a verbaliser reads the last token: leave it out"
    if network.prompt.calibrate and network.adapter.get("kind") in VIRTUAL:
        yield "network.prompt.calibrate", f": {network.adapter['kind']} puts tokens before an empty text: leave it out"
    if is_verbaliser and network.attention not in ("auto", "causal"):
        yield "network.attention", f" is {network.attention}, and a verbaliser needs causal attention: leave it out"
    for name, word in network.prompt.words.items() if is_verbaliser else ():
        if template[-1:].isalnum() and word[:1].isalnum() and not MEET.search(template[-1] + word[0]):
            yield (
                f"network.prompt.words.{name}",
                f" is {word!r} and the template ends with a letter, which would make one word of both: begin it with a "
                "space",
            )
    for name, given in (("words", network.prompt.words), ("calibrate", network.prompt.calibrate)):
        if given and not is_verbaliser:
            yield f"network.prompt.{name}", " does nothing here: set network.head=verbaliser, or leave it out"
    if is_verbaliser and not network.prompt.words:
        yield "network.prompt.words", " is empty, and a verbaliser needs a word for each class: {positive: ' good', …}"


def _numbers(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A number under its key, or each of those in a list or a mapping."""
    if isinstance(value, dict):
        yield from ((f"{key}.{name}", each) for name, each in value.items())
    elif isinstance(value, list):
        yield from ((f"{key}[{number}]", each) for number, each in enumerate(value))
    elif value is not None:
        yield key, value
