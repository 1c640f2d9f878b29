"""From a configuration to its strategies."""

from __future__ import annotations

from typing import Any

from cl.config import instantiate, locate
from cl.plugins import PLUGINS
from cl.plugins.base import Plugin
from cl.plugins.strategy import Strategy
from cl.system.words import one_of
from cl.types import UserError


def build_strategy(plugins: dict[str, Any] | None, name: str) -> Strategy:
    """The strategy `strategies.<name>` from its plugins' options.

    A plugin goes by its own name, or by any other where its options say which it is: `{new: {plugin: replay, …}}`. So
    one may stand there twice.
    """
    if plugins is not None and not isinstance(plugins, dict):
        raise UserError(
            f"strategies.{name}: write a mapping of plugins, such as {{ewc: {{strength: 100}}}}, not {plugins!r}"
        )
    built = {}
    for plugin, options in (plugins or {}).items():
        where = f"strategies.{name}.{plugin}"
        if options is not None and not isinstance(options, dict):
            raise UserError(f"{where}: write a mapping of options, such as {{strength: 100}}, not {options!r}")
        options = dict(options or {})
        kind = options.pop("plugin", plugin)
        built[plugin] = instantiate(plugin_class(kind, where), options, where)
        if plugin != kind:
            built[plugin].alias = plugin  # type: ignore[misc]
    try:
        return Strategy(built)
    except UserError as error:
        raise UserError(f"strategies.{name}: {error}") from error


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
        raise UserError(f"{where}: {name} is no subclass of cl.plugins.base.Plugin")
    return found
