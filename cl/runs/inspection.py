"""What `cl check` prints: strategies, network and data as a run would see them, and every problem."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cl.config import Config, NetworkConfig, completed
from cl.data.counts import counts
from cl.data.dataset import Store
from cl.evaluation.evaluator import Evaluator
from cl.models.backbone import Backbone
from cl.runs.cells import cells_of
from cl.runs.folder import refuse_other_config, refuse_other_data
from cl.runs.learners import num_processes, trainer_of
from cl.runs.needs import Room, needs_of, warnings_of
from cl.runs.networks import build_backbone, network_notes, with_adapter
from cl.runs.prepare import as_scored, data_errors, encode
from cl.runs.strategies import build_strategy
from cl.runs.streams import build_stream
from cl.streams import protocols
from cl.streams.check import warnings as doubts_of
from cl.streams.identity import fingerprint, identity_of
from cl.streams.scenarios import columns_after
from cl.streams.stream import Stream
from cl.system.printing import console_for, say
from cl.system.state import is_finished
from cl.types import SPLITS, Experience, SplitName, UserError

SHOWN = 6  # classes of an experience, at most


@dataclass(frozen=True)
class Checked:
    """What a check found: `problems`, a line each, with the place and a remedy; the `stream`, if it can be read."""

    problems: list[str]
    stream: Stream | None


def check(config: Config) -> Checked:
    """Prints what a run would do and every problem that it would meet. Trains nothing and writes nothing."""
    console = console_for()
    problems: list[str] = []
    with _noting(problems):
        config = completed(config)
    for name, plugins in config.strategies.items():
        with _noting(problems):
            built = build_strategy(plugins, name, config.network.adapter).plugins.values()
            say(console, f"strategy {name}: {', '.join(map(repr, built)) or 'finetuning'}")
    with _noting(problems):
        num_processes(config.trainer)
    stream: Stream | None = None
    experiences: Sequence[Experience] = ()
    notes: Sequence[str] = ()
    with _noting(problems):
        stream = as_scored(config, build_stream(config.stream))
        experiences, notes = stream.experiences, stream.notes
        problems += data_errors(config, stream)
    with _noting(problems):
        backbone, tokenizer = build_backbone(config.network, experiences, outline=True)
        _inspect_network(config.network, with_adapter(config.network, backbone), experiences, console)
        if experiences:
            store, warnings = encode(config.network, experiences, backbone, tokenizer)
            warnings += network_notes(config.network, backbone)
            with _noting(problems):
                warnings += _inspect_needs(config, backbone, Evaluator(experiences, store), problems, console)
            _inspect_data(experiences, store, [*notes, *doubts_of(experiences), *warnings], console)
            refuse_other_data(
                Path(str(config.run.dir)),
                identity_of(experiences),
                store.fingerprint(),
                cells_of(config) if config.run.overwrite else (),
            )
    with _noting(problems):
        discard = config.run.overwrite
        refuse_other_config(Path(str(config.run.dir)), cells_of(config), discard, False, lambda text: None)
    for problem in problems:
        say(console, f"error: {problem}", "red")
    say(console, f"{len(problems)} problem(s); {_plan(config)}")
    return Checked(problems, stream)


def _plan(config: Config) -> str:
    """Where the cells would go, and how many of them are finished there."""
    cells = cells_of(config)
    finished = 0 if config.run.overwrite else sum(is_finished(cell.folder) for cell in cells)
    there = f", {finished} of them finished there" if finished else ""
    return f"{len(cells)} cell(s) would go to {config.run.dir}{there}"


@contextmanager
def _noting(problems: list[str]) -> Iterator[None]:
    """Notes mistakes of the user's, a line each, instead of stopping at the first."""
    try:
        yield
    except UserError as error:
        problems += str(error).splitlines()


def _inspect_data(experiences: Sequence[Experience], store: Store, warnings: list[str], console: Console) -> None:
    found = counts(experiences, store)
    headings = (
        "",
        "experience",
        "kind",
        *SPLITS,
        "classes",
        "tokens of a text (median/90 %/most)",
        "cut off",
        "unknown tokens",
    )
    table = Table(*headings, box=None)
    for experience, of_experience in zip(experiences, found, strict=True):
        table.add_row(*map(Text, _describe(experience, of_experience["splits"], store)))
    console.print(table)
    say(console, "train/valid/test:")
    for of_experience in found:
        say(console, f"  {_counted(of_experience)}")
    hashes = protocols.fingerprint(experiences), fingerprint(identity_of(experiences))
    say(console, "hashes, the same in each run on the same data: {} of the split, {} of the data".format(*hashes))
    for warning in warnings:
        say(console, f"warning: {warning}", "yellow")


def _inspect_network(
    config: NetworkConfig, backbone: Backbone, experiences: Sequence[Experience], console: Console
) -> None:
    total = sum(p.numel() for p in backbone.parameters())
    trained = sum(p.numel() for p in backbone.parameters() if p.requires_grad)
    name = f"{config.backbone} with {config.adapter['kind']}" if config.adapter else config.backbone
    text = f"backbone {name}: {total:,} parameters, {'all' if trained == total else f'{trained:,}'} of them trained"
    if not backbone.is_outline:
        text += f"; batches {'with' if backbone.first_position is None else 'without'} padding"
    if experiences:
        columns = columns_after(experiences, len(experiences) - 1)
        text += f"; the heads of all classes will have {sum(map(len, columns.values())) * (backbone.hidden + 1):,} more"
    say(console, text)
    if config.prompt.template:
        say(console, f"prompt: {config.prompt.template!r}")
    for name, word in backbone.label_words.items():
        say(console, f"class {name} is said by the token {word.tokens[0]}")


def _inspect_needs(
    config: Config, backbone: Backbone, evaluator: Evaluator, problems: list[str], console: Console
) -> list[str]:
    """Prints what a cell of each strategy takes, and notes what cannot fit; what to warn of."""
    if problems:  # of strategies or trainer: they are told, and nothing can be counted
        return []
    found, room = needs_of(config, backbone, evaluator, config.strategies), Room.of(trainer_of(config.trainer))
    for needs in found:
        say(console, str(needs))
    say(console, str(room))
    problems += filter(None, map(room.problem, found))
    return warnings_of(found, room)


def _describe(experience: Experience, splits: dict[SplitName, dict[str, Any]], store: Store) -> list[str]:
    rows = torch.cat([store.splits[experience.index, name] for name in SPLITS])
    tokens = store.num_tokens.numpy()[
        np.unique(store.text[rows].numpy())
    ]  # of whole texts, also where some are cut off
    quantiles = _slashed(f"{q:.0f}" for q in np.quantile(tokens, [0.5, 0.9, 1.0])) if len(tokens) else "–"
    return [
        str(experience.index),
        experience.name,
        f"{experience.kind}, pairs" if experience.train.examples.are_pairs else experience.kind,
        *(str(split["examples"]) for split in splits.values()),
        _shortened(experience.classes),
        quantiles,
        _slashed(f"{split['cut_off_share']:.1%}" for split in splits.values()),
        _slashed(split["unknown_tokens"] for split in splits.values()),
    ]


def _counted(of_experience: dict[str, Any]) -> str:
    """A line: tokens and labels of an experience in train/valid/test; of many labels those that are rarest in train."""
    splits = list(of_experience["splits"].values())
    what = "classes" if of_experience["kind"] == "sequence" else "entities"
    labels = sorted(splits[0][what], key=splits[0][what].__getitem__)
    rarest = f"the rarest of {len(labels)}, " if len(labels) > SHOWN else ""
    each = [f"{label} {_slashed(split[what][label] for split in splits)}" for label in labels[:SHOWN]]
    rows, texts = ([split[key] for split in splits] for key in ("windows", "examples"))
    windows = "" if rows == texts else f" in {_slashed(rows)} windows"
    tokens = _slashed(split["tokens"] for split in splits)
    total = _slashed(sum(split[what].values()) for split in splits)
    parts = f"tokens {tokens}{windows}; {what} {total}: {rarest}{', '.join(each)}"
    return f"{of_experience['experience']} {of_experience['name']}: {parts}"


def _slashed(numbers: Iterable[object]) -> str:
    return "/".join(map(str, numbers))


def _shortened(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:SHOWN])
    return shown if len(classes) <= SHOWN else f"{shown}, … ({len(classes)})"
