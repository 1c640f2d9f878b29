"""A finished cell as it stands in its folder: the network that was trained, without the data that it was trained on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from cl.config import NetworkConfig
from cl.config.trainer import for_lightning
from cl.data.dataset import Store
from cl.data.encode import Encoder
from cl.evaluation.evaluator import Evaluator
from cl.models import backbone
from cl.models.network import Network
from cl.runs.cells import Cell, one_cell
from cl.runs.kept import learnt_pairs, read_experiences, read_tokenizer
from cl.runs.learners import build_learner
from cl.runs.networks import build_backbone, num_positions
from cl.runs.prepare import Prepared, encoder_for
from cl.streams.stream import Stream
from cl.system.state import FINISHED, State, state_of
from cl.system.words import one_of
from cl.training import checkpoint
from cl.training.learner import Learner
from cl.types import KINDS, Experience, Kind, UserError


@dataclass(frozen=True)
class Restored:
    """A finished cell: the `experiences` that it has learnt, without examples, the `learner` as it stood after them,
    the `encoder` of its texts, and whether these are pairs.
    """

    cell: Cell
    experiences: Sequence[Experience]
    learner: Learner
    encoder: Encoder
    takes_pairs: bool

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds that it has learnt."""
        return tuple(kind for kind in KINDS if any(e.kind == kind for e in self.experiences))

    def kind(self, asked: Kind | None, experience: str | None) -> Kind | None:
        """The kind that is asked for, by itself or by the name of an experience, or the only one; None if any may be.

        Raises `UserError` for a kind that was not learnt.
        """
        if asked is not None and asked not in self.kinds:
            raise UserError(
                f"--kind {asked}: {self.cell.folder} has learnt the kind {self.kinds[0]} alone: leave it out"
            )
        of_name = [e.kind for e in self.experiences if e.name == experience]
        return asked or next(iter(of_name), self.kinds[0] if len(self.kinds) == 1 else None)

    def experience(self, kind: Kind, name: str | None) -> Experience:
        """The experience as one of whose a text of this kind is answered.

        `name`: asked for where candidates are an experience's own, or where several networks answer; else any will do,
        and it is None. Raises `UserError` for a name that says nothing, and where one is needed.
        """
        every = [e for e in self.experiences if e.kind == kind]
        apart = every[-1].candidates == "own" or self.learner.strategy.chooses_network
        names = [e.name for e in every]
        if name is None and apart and len(every) > 1:
            why = "competes among its own classes" if every[-1].candidates == "own" else "has a network of its own"
            raise UserError(
                f"{self.cell.folder}: each experience {why}: say which one a text is of, --experience NAME."
                f"{one_of('', names)}"
            )
        if name is None:
            return every[-1]
        if name not in names:
            raise UserError(f"--experience {name}: no experience of kind {kind} has this name.{one_of(name, names)}")
        if not apart:
            raise UserError(
                f"--experience {name}: all classes compete in this cell, whatever the experience: leave it out"
            )
        return every[names.index(name)]

    def candidates(self, experience: Experience) -> tuple[list[int], list[str]]:
        """The columns of the head that may be predicted, and what they are called."""
        columns = self.network_for(experience).head(experience.kind).names
        if experience.candidates == "seen":
            return list(range(len(columns))), list(columns)
        return [columns.index(name) for name in experience.columns], list(experience.classes)

    def network_for(self, experience: Experience) -> Network:
        """The network that answers for an experience."""
        return self.learner.strategy.network_for(self.learner.tools, self.learner.network, experience)


def restored(folder: Path, after: str | None = None) -> Restored:
    """The cell in a folder, on the device that its configuration names, a GPU only where there is one; as it ended, or
    as it stood `after` an experience.

    Raises `UserError` where it is not finished or has no checkpoint, and where its backbone's files are others now.
    """
    cell = one_cell(folder)
    state = _final_state(cell)
    experiences = read_experiences(cell.folder)
    if after is not None:
        state = _state_after(cell, after, [experience.name for experience in experiences])
    with torch.random.fork_rng(devices=[]), _naming_the_backbone(cell):
        network, tokenizer = _backbone(cell)
        encoder = encoder_for(cell.config.network, network, tokenizer, None)
        evaluator = Evaluator(experiences, Store.build(experiences, encoder))
        prepared = Prepared(Stream(experiences), evaluator, network, [], tokenizer, [], "", described=True)
        learner = build_learner(cell.config, prepared, cell.strategy, cell.seed)
        learner.restore(state["learner"])
    learner.trainer = _trainer(cell.config.trainer)
    learner.to(learner.trainer.strategy.root_device).eval()
    learnt = experiences[: learner.experience.index + 1]
    return Restored(cell, learnt, learner, encoder, learnt_pairs(cell.folder))


def _final_state(cell: Cell) -> dict[str, Any]:
    state = state_of(cell.folder) or State("unknown")
    if state.name != FINISHED:
        raise UserError(
            f"{cell.folder} is {state.name}, {state.num_learnt} of {state.num_experiences} experiences are learnt: "
            f"only a finished cell can be used. Go on with: cl resume {cell.folder}"
        )
    found = checkpoint.load_newest(cell.folder / checkpoint.FOLDER)
    if found is None:
        raise UserError(
            f"{cell.folder} has no checkpoint: run.keep was none, or cl clean has deleted it. Train it anew with "
            "run.keep=final run.overwrite=true"
        )
    return found


def _state_after(cell: Cell, name: str, names: Sequence[str]) -> dict[str, Any]:
    if name not in names:
        raise UserError(f"--after {name}: {cell.folder} has learnt no experience of this name.{one_of(name, names)}")
    found = checkpoint.load_end(cell.folder / checkpoint.FOLDER, names.index(name) + 1)
    if found is None:
        raise UserError(
            f"{cell.folder} has kept no checkpoint of the end of {name}: train it with run.keep=all, then all of them "
            "stay"
        )
    return found


def _backbone(cell: Cell) -> tuple[backbone.Backbone, Any]:
    config = cell.config.network
    if config.backbone == "scratch":
        tokenizer = read_tokenizer(cell.folder)
        return backbone.scratch(
            config.scratch, tokenizer, num_positions(config), config.dropout, config.attention
        ), tokenizer
    return build_backbone(placed(config, cell), [])


@contextmanager
def _naming_the_backbone(cell: Cell) -> Iterator[None]:
    """Adds to a refusal what the cell stands upon, and where that was."""
    try:
        yield
    except UserError as error:
        name, state = cell.config.network.backbone, state_of(cell.folder)
        holds = "holds an adapter alone, for" if cell.config.network.adapter else "was trained from"
        seen = f", as seen from {state.started_in}" if state and not Path(name).is_absolute() else ""
        raise UserError(f"{cell.folder} {holds} the backbone {name}{seen}: {error}") from error


def placed(config: NetworkConfig, cell: Cell) -> NetworkConfig:
    """The configuration with a relative folder of the backbone as it was meant when the run began."""
    state = state_of(cell.folder)
    folder = Path(state.started_in if state else "", config.backbone)
    return replace(config, backbone=str(folder)) if folder.is_dir() else config


def _trainer(options: dict[str, Any]) -> Trainer:
    """What knows of precision and device, for one process."""
    accelerator = "cpu" if options["accelerator"] == "cpu" else "auto"
    one = {
        "accelerator": accelerator,
        "devices": 1,
        "num_nodes": 1,
        "strategy": "auto",
        "callbacks": [],
        "logger": False,
    }
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Trainer(**(for_lightning(options) | one))
    finally:
        logger.disabled = before
