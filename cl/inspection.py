"""What `cl check`, `cl strategies` and `cl streams` print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cl.build import PROTOCOLS, SCENARIOS, build_backbone, build_strategy, build_stream, data_errors, num_processes
from cl.config import Config
from cl.data.encode import Encoder
from cl.folder import entries
from cl.models.backbone import Backbone
from cl.reporting.cost import size
from cl.strategies import STRATEGIES
from cl.streams import check, protocols
from cl.streams.identity import fingerprint, identity_of
from cl.streams.read import READERS
from cl.streams.scenarios import columns_after
from cl.types import SPLITS, Experience, UserError


def inspect(config: Config) -> int:
    """Prints what a run would do and every problem found; the exit code, 2 where it could not start."""
    console = _console()
    problems: list[str] = []
    for name, plugins in config.strategies.items():
        with _noting(problems):
            built = build_strategy(plugins, name).plugins.values()
            _say(console, f"strategy {name}: {', '.join(map(repr, built)) or 'finetuning'}")
    with _noting(problems):
        num_processes(config.trainer)
    experiences: Sequence[Experience] = ()
    with _noting(problems):
        stream = build_stream(config.stream)
        experiences = stream.experiences
        problems += data_errors(config, stream)
    with _noting(problems):
        backbone, tokenizer = build_backbone(config.network, experiences)
        _inspect_data(experiences, Encoder(tokenizer, config.network.max_length), console)
        _inspect_network(config.network.backbone, backbone, experiences, console)
    for problem in problems:
        _say(console, f"error: {problem}", "red")
    num_cells = len(config.strategies) * len(config.seeds)
    _say(console, f"{len(problems)} problem(s); {num_cells} cell(s) would go to {config.run.dir}")
    return 2 if problems else 0


def _console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a table in a file or a pipe does not wrap
    return console


@contextmanager
def _noting(problems: list[str]) -> Iterator[None]:
    """Notes mistakes of the user's, a line each, instead of stopping at the first."""
    try:
        yield
    except UserError as error:
        problems += str(error).splitlines()


def _inspect_data(experiences: Sequence[Experience], encoder: Encoder, console: Console) -> None:
    if not experiences:
        return
    headings = ("", "experience", "kind", "train", "valid", "test", "classes", "tokens 50/90/100 %", "cut off")
    table = Table(*headings, "no sub-token", box=None)
    for experience in experiences:
        table.add_row(*map(Text, _describe(experience, encoder)))
    console.print(table)
    _say(console, f"split: {protocols.fingerprint(experiences)}; data: {fingerprint(identity_of(experiences))}")
    for warning in check.warnings(experiences):
        _say(console, f"warning: {warning}", "yellow")


def _inspect_network(name: str, backbone: Backbone, experiences: Sequence[Experience], console: Console) -> None:
    total = sum(p.numel() for p in backbone.parameters())
    trained = sum(p.numel() for p in backbone.parameters() if p.requires_grad)
    text = f"backbone {name}: {total:,} parameters, {trained:,} trained"
    text += "; batches are padded" if backbone.first_position is None else "; batches are packed"
    if experiences:
        columns = columns_after(experiences, len(experiences) - 1)
        text += f"; heads at the end: {sum(map(len, columns.values())) * (backbone.hidden + 1):,}"
    _say(console, text)


def show_status(folder: Path) -> None:
    """A line a cell of a run folder: its state, how far it is, its size on disk."""
    table = Table("strategy", "seed", "state", "learnt", "size", "of it checkpoints", "reason", box=None)
    found = list(entries(folder))
    for entry in found:
        state = entry.state
        learnt = f"{state.num_learnt}/{state.num_experiences or '?'}"
        sizes = (size(entry.num_bytes), size(entry.checkpoint_bytes))
        cells = (entry.cell.strategy, str(entry.cell.seed), state.name, learnt, *sizes, state.reason)
        table.add_row(*map(Text, cells))
    console = _console()
    console.print(table)
    counts = Counter(entry.state.name for entry in found)
    states = ", ".join(f"{number} {name}" for name, number in counts.items())
    _say(console, f"{len(found)} cell(s): {states}; {size(sum(entry.num_bytes for entry in found))}")


def list_strategies() -> None:
    """One line a plugin: name, idea, paper, and its knobs with their defaults."""
    table = Table("plugin", "idea", "paper", "options", box=None)
    for name, plugin in STRATEGIES.items():
        options = ", ".join(f"{f.name}={f.default}" for f in fields(plugin) if f.init)
        table.add_row(name, first_sentence(plugin.__doc__), plugin.paper, options)
    Console().print("finetune: no plugin; the lower bound", table)


def list_streams() -> None:
    """One line a scenario, a protocol (with its paper) and a file format."""
    rows = [("scenario", name, build.__doc__) for name, build in SCENARIOS.items()]
    rows += [("protocol", name, build.__doc__) for name, build in PROTOCOLS.items()]
    rows += [("format", name, reader.__doc__) for name, reader in READERS.items()]
    table = Table("", "name", "what it is", "paper", box=None)
    for kind, name, docstring in rows:
        paper = (docstring or "").partition("\n\n")[2] if kind == "protocol" else ""
        table.add_row(kind, name, *map(Text, (first_sentence(docstring), first_sentence(paper))))
    Console().print(table)


def first_sentence(docstring: str | None) -> str:
    """The first sentence of a docstring on one line."""
    return " ".join((docstring or "").split("\n\n")[0].split())


def _describe(experience: Experience, encoder: Encoder) -> list[str]:
    lengths, truncated, replaced = [], 0, 0
    for name in SPLITS:
        split = experience.split(name)
        encoded = encoder.encode([split.examples.inputs[i] for i in split.indices], experience.kind)
        lengths.append(encoded.lengths)
        truncated, replaced = truncated + encoded.truncated, replaced + encoded.replaced
    every = np.concatenate(lengths)
    quantiles = "/".join(f"{q:.0f}" for q in np.quantile(every, [0.5, 0.9, 1.0])) if len(every) else "–"
    return [
        str(experience.index),
        experience.name,
        experience.kind,
        *(str(len(length)) for length in lengths),
        _shortened(experience.classes),
        quantiles,
        f"{truncated / max(1, len(every)):.1%}",
        str(replaced),
    ]


def _shortened(classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes[:6])
    return shown if len(classes) <= 6 else f"{shown}, … ({len(classes)})"


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(text, style=style, markup=False, soft_wrap=True)
