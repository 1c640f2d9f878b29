"""What `cl check`, `cl strategies` and `cl streams` print."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cl.build import SCENARIOS, build_backbone, build_strategy, build_stream
from cl.config import Config
from cl.data.encode import Encoder
from cl.strategies import STRATEGIES
from cl.streams import check
from cl.streams.read import READERS
from cl.types import SPLITS, Experience, UserError


def inspect(config: Config) -> int:
    """Prints what a run would do and every problem found; the exit code, 2 where it could not start."""
    console = Console()
    problems: list[str] = []
    for name, plugins in config.strategies.items():
        try:
            strategy = build_strategy(plugins, name)
            console.print(
                f"strategy {name}: {', '.join(map(repr, strategy.plugins.values())) or 'finetuning'}", markup=False
            )
        except UserError as error:
            problems.append(str(error))
    try:
        stream = build_stream(config.stream)
        problems += check.errors(stream.experiences)
        for warning in check.warnings(stream.experiences):
            console.print(f"warning: {warning}", style="yellow", markup=False)
        backbone, tokenizer = build_backbone(config.network, stream)
        encoder = Encoder(tokenizer, config.network.max_length)
        console.print(_table([_describe(experience, encoder) for experience in stream]))
        parameters = [p for p in backbone.parameters()]
        trained = sum(p.numel() for p in parameters if p.requires_grad)
        console.print(
            f"backbone {config.network.backbone}: {sum(p.numel() for p in parameters):,} parameters, {trained:,} trained"
        )
    except UserError as error:
        problems.append(str(error))
    for problem in problems:
        console.print(f"error: {problem}", style="red", markup=False)
    cells = len(config.strategies) * len(config.seeds)
    console.print(f"{len(problems)} problems; {cells} cells would go to {config.run.dir}", markup=False)
    return 2 if problems else 0


def list_strategies() -> None:
    """One line a plugin: name, idea, paper, and its knobs with their defaults."""
    table = Table("plugin", "idea", "paper", "options", box=None)
    for name, plugin in STRATEGIES.items():
        options = ", ".join(f"{f.name}={f.default}" for f in fields(plugin) if f.init)
        table.add_row(name, first_sentence(plugin.__doc__), plugin.paper, options)
    Console().print("finetune: no plugin; the lower bound", table)


def list_streams() -> None:
    """One line a scenario and a file format."""
    table = Table("", "name", "what it is", box=None)
    for name, build in SCENARIOS.items():
        table.add_row("scenario", name, first_sentence(build.__doc__))
    for name, reader in READERS.items():
        table.add_row("format", name, first_sentence(reader.__doc__))
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
        " / ".join(str(len(length)) for length in lengths),
        _shortened(experience.classes),
        quantiles,
        f"{truncated / max(1, len(every)):.1%}",
        str(replaced),
    ]


def _shortened(classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes[:6])
    return shown if len(classes) <= 6 else f"{shown}, … ({len(classes)})"


def _table(rows: list[list[str]]) -> Table:
    headings = (
        "",
        "experience",
        "kind",
        "train / valid / test",
        "classes",
        "tokens 50/90/100 %",
        "cut off",
        "no sub-token",
    )
    table = Table(*headings, box=None)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
