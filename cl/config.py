"""The configuration: its schema, and how YAML files and overrides become one."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from inspect import signature
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

import yaml
from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cl.learner import Training
from cl.models.backbone import Scratch
from cl.models.network import Pooling
from cl.types import UserError

T = TypeVar("T")
Mode = Literal["online", "offline", "disabled", "shared"]


@dataclass
class RunConfig:
    """Where results go. `dir`: default `runs/<config name>`; `overwrite`: discard what is there."""

    dir: str | None = None
    overwrite: bool = False


@dataclass
class ToyConfig:
    """The built-in stream: `domains` of sentiment (0 to 10), then `types` of entities one by one (0 to 6)."""

    domains: int = 4
    types: int = 3
    num_train: int = 300
    num_test: int = 200


@dataclass
class StreamConfig:
    """The experiences.

    `scenario`: toy, domain, class, task, or the dotted path of a function that returns an Avalanche scenario.
    `corpora`: a mapping each, `name`, `kind`, `format`, `train`, `valid`, `test` and the reader's options;
    `defaults` holds what they share, `root` the folder that their paths start from. `classes_per_experience`:
    a number, or a list whose last number goes on. `class_order`: the classes as they arrive. `order`: the
    experiences as they come, by name. `limit`: at most so many examples of a split in each experience.
    `hold_out`: the share of train that stands in for a missing split. `drop_overlap`: drop from train and valid
    what stands in test too. `seed` of all draws above; runs with other `seeds` see the same data.
    """

    scenario: str = "toy"
    corpora: list[dict[str, Any]] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)
    root: str | None = None
    classes_per_experience: Any = None
    class_order: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    limit: dict[str, int] = field(default_factory=dict)
    hold_out: dict[str, float] = field(default_factory=lambda: {"valid": 0.1, "test": 0.2})
    drop_overlap: bool = False
    seed: int = 0
    toy: ToyConfig = field(default_factory=ToyConfig)


@dataclass
class NetworkConfig:
    """The network.

    `backbone`: a hub id, a local folder, or `scratch`. `dropout`: replaces every rate of the backbone, null keeps
    them. `max_length`: tokens an example, special ones included. `pooling` of a sequence: mean or first.
    """

    backbone: str = "scratch"
    dropout: float | None = None
    max_length: int = 128
    pooling: Pooling = "mean"
    trust_remote_code: bool = False
    scratch: Scratch = field(default_factory=Scratch)


@dataclass
class EvaluateConfig:
    """`initial`: score every experience before any training, for forward transfer. `batch_size` a rank."""

    initial: bool = False
    batch_size: int = 64


@dataclass
class WandbConfig:
    """`mode`: online, offline, disabled, shared; null is online where a login is found, else offline."""

    mode: Mode | None = None
    project: str = "cl"
    entity: str | None = None
    tags: list[str] = field(default_factory=list)


@dataclass
class Config:
    """One question: a stream, a network, training, and named strategies × seeds.

    `strategies`: name → {plugin: {option: value}}, the plugins in order; an empty mapping is
    finetuning, the default. A plugin
    is a name of `cl strategies` or a dotted path. `trainer`: any argument of `lightning.Trainer`.
    """

    run: RunConfig = field(default_factory=RunConfig)
    seeds: list[int] = field(default_factory=lambda: [0])
    stream: StreamConfig = field(default_factory=StreamConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    strategies: dict[str, Any] = field(default_factory=dict)
    training: Training = field(default_factory=Training)
    trainer: dict[str, Any] = field(default_factory=dict)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)


TRAINER = {
    "accelerator": "auto",
    "devices": 1,
    "max_epochs": 3,
    "log_every_n_steps": 10,
    "precision": "32-true",
    "accumulate_grad_batches": 1,
}


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration in a YAML file (and those that its `include` names), with `key=value` overrides on top."""
    config = OmegaConf.structured(Config)
    try:
        for file, content in _files(path):
            config = _merge(config, content, file)
        for override in overrides:
            config = _override(config, override)
        if config.run.dir is None:
            config.run.dir = f"runs/{path.stem}"
        config.trainer = OmegaConf.merge(TRAINER, config.trainer)
        config.strategies = config.strategies or {"finetune": {}}
        resolved = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: {_first_line(error)}") from error
    assert isinstance(resolved, Config)
    _check(resolved, path)
    return resolved


def to_yaml(config: Config) -> str:
    """The configuration as YAML."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def instantiate(cls: type[T], options: dict[str, Any] | None, where: str) -> T:
    """A dataclass from options, each checked by its field; `where` names the place in errors."""
    hints = get_type_hints(cls)
    known = [f for f in fields(cls) if f.init]  # type: ignore[arg-type]
    for key in options or {}:
        if key not in {f.name for f in known}:
            raise UserError(f"{where}: there is no option {key!r}.{did_you_mean(key, [f.name for f in known])}")
    missing = [
        f.name for f in known if f.default is MISSING and f.default_factory is MISSING and f.name not in (options or {})
    ]
    if missing:
        raise UserError(f"{where}: the option {missing[0]!r} is missing")
    schema = make_dataclass(
        cls.__name__,
        [(f.name, hints[f.name], field(default=f.default, default_factory=f.default_factory)) for f in known],  # type: ignore[misc]
    )
    try:
        values = OmegaConf.to_container(OmegaConf.merge(OmegaConf.structured(schema), options or {}), resolve=True)
        return cls(**values)  # type: ignore[arg-type]
    except OmegaConfBaseException as error:
        raise UserError(f"{where}.{error.full_key or ''}: {_first_line(error)}") from error
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def locate(path: str, where: str) -> Any:
    """What a dotted path names: `package.module.Name`."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{where}: cannot import {path!r}: {error}. Is its folder on PYTHONPATH?") from error


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint at the nearest known word, else at all of them."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(known) or 'none'}."


def differences(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys by which two nested mappings differ."""
    keys: list[str] = []
    for key in sorted({*a, *b}):
        left, right = a.get(key), b.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            keys += differences(left, right, f"{prefix}{key}.")
        elif left != right:
            keys.append(prefix + key)
    return keys


def _files(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """A file after those it includes."""
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text) or {}
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], n=1)
        raise UserError(
            f"{path}: no such file." + (f" Did you mean {path.parent / near[0]}?" if near else "")
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a mapping of keys")
    included = content.pop("include", [])
    included = [included] if isinstance(included, str) else included
    return [file for name in included for file in _files(path.parent / name)] + [(path, content)]


def _merge(config: DictConfig, content: dict[str, Any], file: Path) -> DictConfig:
    try:
        merged = OmegaConf.merge(config, content)
    except OmegaConfBaseException as error:
        line = _line(file, str(error.full_key or error.key))
        raise UserError(f"{file}{line}: {_first_line(error)}") from error
    assert isinstance(merged, DictConfig)
    return merged


def _override(config: DictConfig, override: str) -> DictConfig:
    key, equals, value = override.partition("=")
    if not equals:
        raise UserError(f"{override!r} is no override: write key=value")
    try:
        OmegaConf.update(config, key, yaml.safe_load(value), merge=True, force_add=False)
    except yaml.YAMLError as error:
        raise UserError(f"{override!r}: the value is not valid YAML: {error}") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{override!r}: {_first_line(error)}") from error
    return config


def _check(config: Config, path: Path) -> None:
    known = set(signature(Trainer.__init__).parameters) - {"self"}
    for key in config.trainer:
        if key not in known:
            raise UserError(
                f"{path}: trainer.{key}: lightning's Trainer has no such argument.{did_you_mean(key, known)}"
            )
    if not config.seeds:
        raise UserError(f"{path}: seeds is empty: give at least one, such as [0]")
    for name in config.strategies:
        if not name or "/" in name or name.startswith("."):
            raise UserError(
                f"{path}: strategies.{name}: the name becomes a folder and may not hold '/' or begin with '.'"
            )


def _line(path: Path, key: str) -> str:
    """`:12` for the line at which a dotted key stands in a YAML file, as far as it can be found."""
    node, line = yaml.compose(path.read_text(encoding="utf-8")), None
    for part in key.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((k, v) for k, v in pairs if k.value == part), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return f":{line}" if line else ""


def _first_line(error: OmegaConfBaseException) -> str:
    name = f"{error.full_key}: " if error.full_key else ""
    return name + str(error.msg or error).splitlines()[0]
