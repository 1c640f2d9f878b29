"""From a configuration to its strategies."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Mapping
from inspect import get_annotations
from pathlib import Path
from typing import Any

from cl.config import instantiate, locate
from cl.plugins import PLUGINS
from cl.plugins.base import Plugin
from cl.plugins.strategy import Strategy
from cl.system.words import one_of
from cl.types import UserError


def build_strategy(plugins: dict[str, Any] | None, name: str, adapter: Mapping[str, Any] | None = None) -> Strategy:
    """The strategy `strategies.<name>` from its plugins' options, for a network with this adapter.

    A plugin goes by its own name, or by any other where its options say which it is: `{new: {plugin: replay, …}}`. So
    one may stand there twice. `adapter`: `network.adapter`, None where it is not known yet.
    """
    if plugins is not None and not isinstance(plugins, dict):
        raise UserError(
            f"strategies.{name}: write a mapping of plugins, such as {{ewc: {{strength: 100}}}}, not {plugins!r}"
        )
    built = {}
    for plugin, options in (plugins or {}).items():
        where = f"strategies.{name}.{plugin}"
        if options is not None and not isinstance(options, dict) and name in PLUGINS and plugin not in PLUGINS:
            meant = f"{{{name}: {{{name}: {{{plugin}: {options!r}}}}}}}"
            raise UserError(f"{where}: write the plugin below the strategy's name, {meant}")
        if options is not None and not isinstance(options, dict):
            raise UserError(f"{where}: write a mapping of options, such as {{strength: 100}}, not {options!r}")
        options = dict(options or {})
        kind = options.pop("plugin", plugin)
        built[plugin] = instantiate(plugin_class(kind, where), options, where)
        needed = built[plugin].adapter
        if needed and adapter is not None and adapter.get("kind") != needed:
            raise UserError(
                f"{where} needs an adapter of kind {needed}, and network.adapter is {dict(adapter) or 'empty'}: set it "
                f"to {{kind: {needed}, …}}"
            )
        if plugin != kind:
            built[plugin].alias = plugin  # type: ignore[misc]
    try:
        return Strategy(built)
    except UserError as error:
        raise UserError(f"strategies.{name}: {error}") from error


def code_of(plugins: dict[str, Any] | None) -> dict[str, str]:
    """A hash of what each plugin of a dotted path does: of its file's code, whatever its comments and spaces."""
    paths = ((options or {}).get("plugin", name) for name, options in (plugins or {}).items())
    found = {str(path): plugin_class(path, "strategies") for path in paths if path not in PLUGINS}
    return {path: _hash_of(cls) for path, cls in found.items()}


def _hash_of(cls: type) -> str:
    file = getattr(sys.modules[cls.__module__], "__file__", None)
    if file is None:  # typed into an interpreter
        return ""
    source = Path(file).read_text(encoding="utf-8")
    return hashlib.sha256(ast.dump(ast.parse(source)).encode()).hexdigest()[:16]


def plugin_class(name: object, where: str) -> type[Plugin]:
    """The plugin of a name of `PLUGINS` or a dotted path; `where` names the place in errors."""
    if not isinstance(name, str):
        raise UserError(f"{where}.plugin is {name!r}: give the name of a plugin or a dotted path")
    if name in PLUGINS:
        return PLUGINS[name]
    if "." not in name:
        raise UserError(
            f"{where}: there is no plugin {name!r}.{one_of(name, PLUGINS)} Or give a dotted path; a name of your "
            "own needs the key `plugin`."
        )
    found = locate(name, where)
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        raise UserError(f"{where}: {name} is no subclass of cl.Plugin")
    own = [name for name, kind in get_annotations(found).items() if "ClassVar" not in str(kind)]
    if own and "__dataclass_fields__" not in vars(found):
        raise UserError(f"{where}: {name} has the field {own[0]} and no @dataclass above the class: add it")
    return found
