"""A finished cell as a folder for transformers: model, tokenizer, and a card that says what it is."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from cl.models import backbone
from cl.runs.card import card
from cl.runs.restored import Restored, restored
from cl.system.files import write_text
from cl.types import Experience, Kind, UserError


def export(
    cell: str | PathLike[str], folder: str | PathLike[str], experience: str | None = None, kind: Kind | None = None
) -> Path:
    """Writes the network of a finished cell, for one kind, into a new folder; the folder.

    `experience`, `kind`: as for `Predictor`. Raises `UserError` for a folder that holds something, and for a cell that
    cannot be used.
    """
    found, target = restored(Path(cell)), Path(folder)
    of_kind = found.kind(kind, experience)
    if of_kind is None:
        raise UserError(f"{cell} has learnt both to label texts and to tag words: say --kind sequence or --kind token")
    asked = found.experience(of_kind, experience)
    _refuse_used(target)
    config = found.cell.config.network
    if config.adapter:
        raise UserError(f"{cell} has trained an adapter: cl export writes whole networks only. cl predict can use it")
    try:
        target.mkdir(parents=True, exist_ok=True)
        native = backbone.export(
            target,
            found.network_for(asked).backbone.cpu(),
            found.encoder.tokenizer,
            config.max_length,
            _head(found, asked),
        )
        write_text(
            target / "README.md", card(found.cell, asked, native, found.takes_pairs, found.encoder.word == "last")
        )
    except OSError as error:
        raise UserError(f"{target}: cannot write there: {error.strerror or error}") from error
    return target


def _refuse_used(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: something is there already: name a new folder")


def _head(found: Restored, experience: Experience) -> backbone.Head:
    """The rows of the classes that may be predicted."""
    network = found.network_for(experience)
    head = network.head(experience.kind).cpu()
    places, names = found.candidates(experience)
    scale = getattr(head, "scale", None)
    bias = None if head.bias is None else head.bias[places]
    types = found.takes_pairs and found.encoder.types
    return backbone.Head(experience.kind, network.pooling, head.weight[places], bias, scale, tuple(names), types)
