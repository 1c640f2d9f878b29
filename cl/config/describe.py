"""Every key of a configuration with its type, default, range and meaning, read off the schema itself."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from math import inf
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from cl.config import trainer
from cl.config.schema import RANGES, Config
from cl.system.words import one_of
from cl.types import UserError

OF = dict.fromkeys(("max_epochs", "max_steps", "limit_train_batches", "overfit_batches"), ", of each experience")
OF["max_time"] = ", of the whole command"
OF["log_every_n_steps"] = "; at 10 more often in short experiences: each has 20 points, if it has as many steps"


class Key(NamedTuple):
    """A key as `cl config` shows it; all of it text."""

    name: str
    type: str
    default: str
    range: str
    meaning: str


def describe(section: str = "") -> list[Key]:
    """The keys of a section such as `stream` or `stream.toy`; of all sections, where none is named.

    Raises `UserError` for a section that is not there.
    """
    keys = list(_keys(Config, ""))
    sections = dict.fromkeys(
        key.name.rsplit(".", depth)[0] for key in keys for depth in (1, 2) if key.name.count(".") >= depth
    )
    found = [key for key in keys if not section or key.name == section or key.name.startswith(f"{section}.")]
    if not found:
        names = list(dict.fromkeys([*sections, *(key.name for key in keys if "." not in key.name)]))
        raise UserError(f"there is no section {section!r}.{one_of(section, names)}")
    return found


def meanings(cls: type) -> dict[str, str]:
    """The text under each field of a dataclass, on one line."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for node, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            assert isinstance(node.target, ast.Name)
            found[node.target.id] = " ".join(str(below.value.value).split())
    return found


def _keys(cls: type, prefix: str) -> Iterator[Key]:
    texts, types = meanings(cls), get_type_hints(cls)
    for f in fields(cls):
        name, kind = prefix + f.name, types[f.name]
        if is_dataclass(kind):
            assert isinstance(kind, type)
            yield from _keys(kind, f"{name}.")
            continue
        yield Key(name, _type(kind), _default(f), _range(name), texts.get(f.name, ""))
        if name == "trainer":
            yield from _of_trainer()


def _of_trainer() -> Iterator[Key]:
    for name in sorted(trainer.PASSED_ON | trainer.OF_THE_PLAN):
        default = trainer.DEFAULTS.get(name)
        meaning = f"As lightning.Trainer documents it{OF.get(name, '')}."
        yield Key(f"trainer.{name}", "", "null" if default is None else str(default), "", meaning)


def _type(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " | ".join(map(str, get_args(kind)))
    if get_origin(kind) in (UnionType, Union):
        return " | ".join("null" if one is NoneType else _type(one) for one in get_args(kind))
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind).replace("typing.", "")


def _default(f: Field[Any]) -> str:
    value = f.default if f.default_factory is MISSING else f.default_factory()
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _range(name: str) -> str:
    key = name if name in RANGES else name.rpartition(".")[0]
    if key not in RANGES:
        return ""
    least, most = RANGES[key]
    return f"{least} up" if most == inf else f"{least} to {most}"
