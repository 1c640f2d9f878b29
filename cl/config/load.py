"""From YAML files and `key=value` overrides to a configuration, with errors that say where."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cl.config.options import reason
from cl.config.schema import Config, problems
from cl.config.trainer import DEFAULTS
from cl.types import UserError

PRIVATE = "x-"  # keys at the top of a file that begin so are the user's own: a place for YAML anchors


def load(path: str | PathLike[str], overrides: Sequence[str] = ()) -> Config:
    """The configuration in a YAML file (and those that its `include` names), with `key=value` overrides on top.

    Raises `UserError`, which says where each wrong value stands.
    """
    path, config = Path(path), OmegaConf.structured(Config)
    mistakes: list[str] = []
    for file, content in _files(path):
        for key, value in _leaves(config, content, file):
            with _collecting(mistakes):
                _set(config, key, value, partial(_place, file, key))
    for override in overrides:
        with _collecting(mistakes):
            key, value = _parsed(override)
            whole = key == "strategies"  # a list of them is the whole list
            _set(config, key, value, partial(repr, override), merge=not whole)
    if mistakes:
        raise UserError("\n".join(mistakes))
    if config.run.dir is None:
        config.run.dir = f"runs/{path.stem}"
    return _checked(config, lambda key: f"{_origin(key, path, overrides)}: ")


@contextmanager
def _collecting(mistakes: list[str]) -> Iterator[None]:
    """Notes mistakes of the user's, so that all of them are told at once."""
    try:
        yield
    except UserError as error:
        mistakes.append(str(error))


def completed(config: Config) -> Config:
    """A configuration made or changed in Python, with what is missing filled in. Raises `UserError` as `load` does."""
    try:
        structured = OmegaConf.structured(config)
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {reason(error)}") from error
    if structured.run.dir is None:
        structured.run.dir = "runs/run"
    return _checked(structured, lambda key: "")


def _checked(config: DictConfig, origin: Callable[[str], str]) -> Config:
    """The configuration with defaults filled in; `origin` says where a key was set, for errors."""
    config.trainer = OmegaConf.merge(DEFAULTS, config.trainer)
    if not config.strategies:
        config.strategies = {"finetune": {}}
    try:
        resolved = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise UserError(f"{origin(str(error.full_key))}{error.full_key}: {reason(error)}") from error
    assert isinstance(resolved, Config)
    resolved.run.dir = str(Path(str(resolved.run.dir)).expanduser())
    if found := [f"{origin(key)}{key}{problem}" for key, problem in problems(resolved)]:
        raise UserError("\n".join(found))
    return resolved


def _files(path: Path, including: tuple[Path, ...] = ()) -> list[tuple[Path, dict[str, Any]]]:
    """A file after those it includes."""
    if path in including:
        raise UserError(f"{including[-1]}: include: {path} includes this file in turn")
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.{_near(path)}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: cannot read: it is a folder. Name a YAML file; of a run folder, cl resume") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read: {error}") from error
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        twice = " Each key may stand once: two strategies need two names." if "duplicate key" in str(error) else ""
        raise UserError(f"{path}: not valid YAML: {error}.{twice}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a list, not a mapping of keys")
    included = content.pop("include", None) or []
    names = [included] if isinstance(included, str) else included
    files = [file for name in names for file in _files(path.parent / str(name), (*including, path))]
    public = {str(key): value for key, value in content.items() if not str(key).startswith(PRIVATE)}
    return [*files, (path, public)]


def _near(path: Path) -> str:
    """A hint at the file of the nearest name, beside where it was looked for or among `configs/`."""
    there = {file.stem: file for file in (*Path("configs").rglob("*.yaml"), *path.parent.glob("*.yaml"))}
    near = difflib.get_close_matches(path.stem, there, n=1)
    return f" Did you mean {there[near[0]]}?" if near else ""


def _leaves(config: DictConfig, content: dict[str, Any], file: Path, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of a file's content, down to where the schema has no sections, and their values."""
    for name, value in content.items():
        key = f"{prefix}{name}"
        if not is_dataclass(OmegaConf.get_type(config, name) if name in config else None):
            yield key, value
        elif isinstance(value, dict):
            yield from _leaves(config[name], value, file, f"{key}.")
        elif value is not None:  # a section all of whose lines are commented out says nothing
            raise UserError(f"{_place(file, key)}: {key} is {value!r}: write a mapping of its keys")


def _parsed(override: str) -> tuple[str, Any]:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"{override!r} is no override: write key=value")
    try:
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))
        assert isinstance(parsed, dict)
        return key, parsed["value"]
    except yaml.YAMLError as error:
        raise UserError(f"{override!r}: the value is not valid YAML: {error}") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{override!r}: {reason(error)}") from error


def _set(config: DictConfig, key: str, value: Any, where: Callable[[], str], merge: bool = True) -> None:
    """Sets a key. `where` finds the place of the value for an error; it is slow, so it is asked only then."""
    if key == "seeds" and isinstance(value, int):
        value = [value]
    merge &= key != "network.adapter"  # options of one kind mean nothing to another
    try:
        OmegaConf.update(config, key, value, merge=merge, force_add=False)
    except TypeError as error:  # a list for a mapping, or the other way round
        raise UserError(f"{where()}: {key}: write a {'mapping' if isinstance(value, list) else 'list'} here") from error
    except (OmegaConfBaseException, ValueError, IndexError) as error:
        full = getattr(error, "full_key", None) or key
        raise UserError(f"{where()}: {full}: {reason(error)}{_longer(key)}") from error


def _longer(key: str) -> str:
    """A hint at the keys that end as this one: `trainer.max_epochs` for `max_epochs`."""
    from cl.config.describe import describe

    found = [known.name for known in describe() if known.name.endswith(f".{key}")]
    return f". Did you mean {' or '.join(map(repr, found))}?" if found else ""


def _origin(key: str, path: Path, overrides: Sequence[str]) -> str:
    """The override that set a key, else the file, with the line where the key stands in it."""
    for override in reversed(overrides):
        if key.startswith(override.partition("=")[0]):
            return repr(override)
    return _place(path, key)


def _place(path: Path, key: str) -> str:
    """`file.yaml:12`, with the line at which a dotted key stands in a YAML file, as far as it can be found."""
    node, line = yaml.compose(path.read_text(encoding="utf-8")), None
    for part in re.split(r"[.\[]", key):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((k, v) for k, v in pairs if k.value == part), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return f"{path}:{line}" if line else str(path)
