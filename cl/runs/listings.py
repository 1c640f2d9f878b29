"""What `cl plugins` and `cl streams` print: what there is, and all about one of it."""

from __future__ import annotations

from dataclasses import MISSING, fields
from inspect import cleandoc, getdoc
from pathlib import Path

import yaml
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from cl import plugins
from cl.config.describe import describe
from cl.plugins import PLUGINS
from cl.plugins.base import SEAMS, Plugin
from cl.runs.strategies import plugin_class
from cl.runs.streams import ALWAYS, PROTOCOLS, READS, SCENARIOS
from cl.streams.read import READERS
from cl.streams.readers.base import Reader
from cl.system.printing import console_for, say
from cl.system.words import one_of
from cl.types import UserError

COSTS = Path(plugins.__file__).with_name("costs.yaml")
OF_KIND = {"tokens": "sentences", "sequences": "texts"}


def list_plugins() -> None:
    """One line a plugin: name, idea, paper, and its knobs with their defaults."""
    table = Table("plugin", "idea", "paper", "options", box=None)
    for name, plugin in PLUGINS.items():
        options = ", ".join(f"{f.name}={f.default}" for f in fields(plugin) if f.init)
        table.add_row(name, first_sentence(plugin.__doc__), plugin.paper, options)
    console_for().print("finetune: no plugin; the lower bound", table)


def show_plugin(name: str) -> None:
    """All about one plugin: what its docstring says, its options, where it acts, what it costs, what it excludes."""
    plugin = plugin_class(name, "plugin")
    console = console_for()
    say(console, f"{name}: {plugin.paper}" if plugin.paper else name, "bold")
    say(console, "\n" + cleandoc(plugin.__doc__ or "It has no docstring.") + "\n")
    _show_options(plugin, console)
    seams = [seam for seam in SEAMS if getattr(plugin, seam) is not getattr(Plugin, seam)]
    say(console, f"It acts in {', '.join(seams)}.")
    if any(seam in seams for seam in ("loss", "penalty")):
        say(console, f"Its term is logged as loss/{name}.")
    say(console, f"What it stores grows with each experience: {plugin.grows}." if plugin.grows else
         "What it stores does not grow with the number of experiences.")  # fmt: skip
    if cost := yaml.safe_load(COSTS.read_text(encoding="utf-8")).get(name):
        times = ", ".join(f"{cost[kind]} × on {what}" for kind, what in OF_KIND.items() if kind in cost)
        kept = f"; it keeps {decimal(int(cost['stored'] * 1e6))}" if "stored" in cost else ""
        say(console, f"Measured with MiniLM on two CPU cores: an experience takes finetuning's time {times}{kept}.")
    for trait, reason in plugin.excludes.items():
        others = [other for other, cls in PLUGINS.items() if trait in cls.traits and other != name]
        if others:
            say(console, f"It does not work beside {', '.join(others)}: {reason}.")


def list_streams() -> None:
    """One line a scenario, a protocol (with its paper) and a file format."""
    rows = [("scenario", name, build.__doc__) for name, build in SCENARIOS.items()]
    rows += [("protocol", name, build.__doc__) for name, build in PROTOCOLS.items()]
    rows += [("format", name, reader.__doc__) for name, reader in READERS.items()]
    table = Table("", "name", "what it is", "paper", box=None)
    for kind, name, docstring in rows:
        paper = (docstring or "").partition("\n\n")[2] if kind == "protocol" else ""
        table.add_row(kind, name, *map(Text, (first_sentence(docstring), first_sentence(paper))))
    console_for().print(table)


def show_stream(name: str) -> None:
    """All about one scenario, protocol or format: what its docstring says, and its options.

    Raises `UserError` where there is none of that name.
    """
    console = console_for()
    if build := (SCENARIOS | PROTOCOLS).get(name):
        say(console, f"{name}: {getdoc(build)}\n")
        reads = [key for key in describe("stream") if key.name.split(".")[1] in ALWAYS | READS[name]]
        table = Table("option", "default", "meaning", box=None)
        for key in reads:
            table.add_row(*map(Text, (key.name, key.default, key.meaning)))
        console.print(table)
    elif reader := READERS.get(name):
        # What the readers of a family share stands in the docstring of their base.
        texts = [cleandoc(cls.__doc__ or "") for cls in reader.__mro__ if issubclass(cls, Reader) and cls is not Reader]
        say(console, f"{name}: " + "\n".join(texts) + "\n")
        _show_options(reader, console)
        say(
            console,
            "Options stand beside `format` in a corpus of stream.corpora, or in stream.defaults for all of them.",
        )
    else:
        raise UserError(f"there is no scenario, protocol or format {name!r}.{one_of(name, [*READS, *READERS])}")


def _show_options(cls: type, console: Console) -> None:
    """A table of a dataclass's options, if it has any."""
    table = Table("option", "type", "default", box=None)
    for f in fields(cls):
        if f.init:
            default = f.default if f.default_factory is MISSING else f.default_factory()
            kind = f.type if isinstance(f.type, str) else f.type.__name__
            table.add_row(*map(Text, (f.name, kind, "(must be given)" if default is MISSING else str(default))))
    if table.row_count:
        console.print(table)


def first_sentence(docstring: str | None) -> str:
    """The first sentence of a docstring on one line."""
    return " ".join((docstring or "").split("\n\n")[0].split())
