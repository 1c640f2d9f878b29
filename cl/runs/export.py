"""A finished cell as a folder for transformers: model, tokenizer, and a card that says what it is."""

from __future__ import annotations

import copy
import shutil
from os import PathLike
from pathlib import Path
from typing import Literal

import torch

from cl.models import adapters, backbone
from cl.runs.card import card
from cl.runs.restored import Restored, placed, restored
from cl.system.files import write_text
from cl.types import Experience, Kind, UserError


def export(
    cell: str | PathLike[str],
    folder: str | PathLike[str],
    experience: str | None = None,
    kind: Kind | None = None,
    merged: bool = False,
) -> Path:
    """Writes the network of a finished cell, for one kind, into a new folder; the folder.

    `experience`, `kind`: as for `Predictor`. A cell that has trained an adapter is written as one for peft, or
    `merged` into the weights of the backbone. Raises `UserError` for a folder that holds something, and for a cell that
    cannot be used or whose network has no form outside.
    """
    found, target = restored(Path(cell)), Path(folder)
    of_kind = found.kind(kind, experience)
    if of_kind is None:
        raise UserError(f"{cell} has learnt both to label texts and to tag words: say --kind sequence or --kind token")
    asked = found.experience(of_kind, experience)
    _refuse_used(target)
    form, was_there = _form(found, merged), target.exists()
    try:
        target.mkdir(parents=True, exist_ok=True)
        native = _write(found, asked, target, form)
        write_text(target / "README.md", card(found, asked, native, form == "adapter"))
    except OSError as error:
        raise UserError(f"{target}: cannot write there: {error.strerror or error}") from error
    except UserError:
        shutil.rmtree(target, ignore_errors=True)  # what is in it is no whole model
        if was_there:
            target.mkdir()
        raise
    return target


def _form(found: Restored, merged: bool) -> Literal["adapter", "weights"]:
    """What is written. Raises `UserError` for a network that has no such form."""
    config, cell = found.cell.config.network, found.cell.folder
    if isinstance(config.attention, int):
        raise UserError(
            f"{cell}: network.attention is {config.attention}, and no class of transformers sees all tokens from one "
            "layer on: it has no export. cl predict can use it"
        )
    if not config.adapter:
        if merged:
            raise UserError(f"--merged: {cell} has trained no adapter: leave it out")
        return "weights"
    exports = adapters.read(config.adapter).kind.exports
    if exports == "nothing":
        raise UserError(
            f"{cell} has trained an adapter of kind {config.adapter['kind']}, which cl writes "
            "neither for peft nor within the weights of a model: it has no export. cl predict can use it"
        )
    return "weights" if merged else exports


def _write(found: Restored, experience: Experience, target: Path, form: Literal["adapter", "weights"]) -> bool:
    config = found.cell.config.network
    head = _head(found, experience, torch.float32 if config.adapter else None)
    trained, tokenizer = found.network_for(experience).backbone.cpu(), found.encoder.tokenizer
    if form == "adapter":
        base = None if config.backbone == "scratch" else backbone.folder_of(placed(config, found.cell).backbone)
        return adapters.export_adapter(target, trained, tokenizer, config.max_length, head, base)
    if config.adapter:
        trained = adapters.merged(trained, head.weight.dtype)
    return backbone.export(target, trained, tokenizer, config.max_length, head)


def _refuse_used(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: something is there already: name a new folder")


def _head(found: Restored, experience: Experience, least: torch.dtype | None) -> backbone.Head:
    """The rows of the classes that may be predicted, in their own precision or in one that is no less than `least`."""
    network = found.network_for(experience)
    head = network.head(experience.kind).cpu()
    if least is not None:
        head = copy.deepcopy(head).to(torch.promote_types(head.weight.dtype, least))
    places, names = found.candidates(experience)
    scale = getattr(head, "scale", None)
    bias = None if head.bias is None else head.bias[places]
    types = found.takes_pairs and found.encoder.types
    return backbone.Head(experience.kind, network.pooling, head.weight[places], bias, scale, tuple(names), types)
