"""What `cl plugins` and `cl streams` print: what there is, and all about one of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import MISSING, Field, fields
from inspect import cleandoc, get_annotations, getdoc
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from cl import plugins
from cl.config.describe import describe
from cl.plugins import PLUGINS
from cl.plugins.base import SEAMS, Plugin
from cl.runs.corpora import reader_class
from cl.runs.strategies import plugin_class
from cl.runs.streams import ALWAYS, EXAMPLES, PROTOCOLS, READS, SCENARIOS
from cl.streams.read import READERS
from cl.streams.readers.base import Reader
from cl.streams.readers.labelled import Labelled
from cl.system.printing import console_for, say
from cl.system.words import one_of
from cl.types import UserError

COSTS = Path(plugins.__file__).with_name("costs.yaml")
OPTION = re.compile(r"(\w+(?:, \w+)*): (.+)")
SPLIT = "The files of a split: a path, a pattern such as part-*.csv, or a list of them."
EACH = "A column or key, in formats with rows: each of its values is a corpus of its own, called by it."
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
    if plugin.adapter:
        say(console, f"It works on a network with an adapter: network.adapter={{kind: {plugin.adapter}, …}}.")
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
    """All about one scenario, protocol or format: what its docstring says, its options and an example.

    A format may be the dotted path of a reader. Raises `UserError` where there is none of that name.
    """
    if name in READS:
        _show_scenario(name)
    elif name in READERS or "." in name:
        _show_format(name)
    else:
        raise UserError(f"there is no scenario, protocol or format {name!r}.{one_of(name, [*READS, *READERS])}")


def _show_scenario(name: str) -> None:
    console = console_for()
    say(console, f"{name}: {getdoc((SCENARIOS | PROTOCOLS)[name])}\n")
    reads = [key for key in describe("stream") if key.name.split(".")[1] in ALWAYS | READS[name]]
    _show_table(((key.name, key.default, key.meaning) for key in reads), console)
    say(console, f"\nIn a configuration:\n\nstream: {EXAMPLES[name]}")


def _show_format(name: str) -> None:
    console, reader = console_for(), reader_class(name, "format")
    text, meanings = words_of(reader)
    say(console, f"{name}: {text}\n")
    options = [(f.name, _default(f), meanings.get(f.name, "")) for f in _own_first(reader)]
    shared = [("train, valid, test", "", SPLIT), *([("each", "null", EACH)] if issubclass(reader, Labelled) else [])]
    _show_table([*options, *shared], console)
    say(console, "\nOptions stand beside `format` in a corpus of stream.corpora, or for all in stream.defaults.")
    if reader.example:
        say(console, f"\nIn a configuration:\n\nstream: {{scenario: domain, corpora: [{reader.example}]}}")


def _own_first(reader: type[Reader]) -> list[Field[Any]]:
    """Its options, those of the class itself before those of its bases."""
    declared = [get_annotations(cls) for cls in reader.__mro__]
    options = [f for f in fields(reader) if f.init]  # type: ignore[arg-type]
    return sorted(options, key=lambda f: next(n for n, names in enumerate(declared) if f.name in names))


def words_of(reader: type[Reader]) -> tuple[str, dict[str, str]]:
    """What a reader's docstring and those of its bases say: of the reader, and of each option.

    A line `name, other: meaning` begins the words of these options, deeper lines go on with them.
    """
    texts, meanings = list[str](), dict[str, str]()
    names: list[str] = []
    bases = [cls for cls in reader.__mro__ if issubclass(cls, Reader) and cls is not Reader]
    for line in (line for cls in bases for line in [*cleandoc(cls.__doc__ or "").split("\n"), ""]):
        if found := OPTION.match(line):
            names = [name for name in found[1].split(", ") if name not in meanings]  # the nearest class says it
            meanings |= dict.fromkeys(names, found[2])
        elif line.startswith(" ") and meanings:
            meanings |= {name: f"{meanings[name]} {line.strip()}" for name in names}
        else:
            texts.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(texts)).strip(), meanings


def _show_table(rows: Iterable[tuple[str, str, str]], console: Console) -> None:
    table = Table("option", "default", "meaning", box=None)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _default(option: Field[Any]) -> str:
    """The default as YAML has it."""
    value = option.default if option.default_factory is MISSING else option.default_factory()
    return "(must be given)" if value is MISSING else json.dumps(value, ensure_ascii=False)


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
