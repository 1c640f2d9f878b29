"""What a cell keeps of its model beside the checkpoint: the classes of its experiences, and a tokenizer of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cl.models import backbone
from cl.system.files import read_json, write_json, write_text
from cl.types import SPLITS, Examples, Experience, Pair, Split, UserError

MODEL, TOKENIZER = "model.json", "tokenizer.json"


def write_model(cell: Path, experiences: Sequence[Experience], tokenizer: Any, own_tokenizer: bool) -> None:
    """Writes `model.json`, what the heads' columns mean; and `tokenizer.json`, where no backbone's files hold it."""
    about = [
        {
            "name": e.name,
            "kind": e.kind,
            "candidates": e.candidates,
            "classes": e.classes,
            "scored": e.scored and sorted(e.scored),
        }
        for e in experiences
    ]
    pairs = any(isinstance(given, Pair) for e in experiences for given in e.train.examples.inputs[:1])
    write_json(cell / MODEL, {"experiences": about, "pairs": pairs})
    if own_tokenizer:
        write_text(cell / TOKENIZER, tokenizer.backend_tokenizer.to_str())


def read_experiences(cell: Path) -> list[Experience]:
    """The experiences that a cell has learnt, without an example. Raises `UserError` where they were not kept."""
    if not (cell / MODEL).is_file():
        raise UserError(f"{cell}: {MODEL} is missing: the cell was trained by an earlier version of cl; train it anew")
    return [_experience(i, about) for i, about in enumerate(read_json(cell / MODEL)["experiences"])]


def learnt_pairs(cell: Path) -> bool:
    """Whether the texts that a cell has learnt are pairs."""
    return bool(read_json(cell / MODEL)["pairs"])


def read_tokenizer(cell: Path) -> Any:
    """The tokenizer of a `scratch` backbone."""
    try:
        return backbone.tokenizer_from((cell / TOKENIZER).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{cell / TOKENIZER}: cannot read: {error.strerror}: restore it, or train the cell anew"
        ) from error


def _experience(index: int, about: dict[str, Any]) -> Experience:
    own, kind = about["candidates"] == "own", about["kind"]
    nothing = {name: Split(Examples([], []), kind) for name in SPLITS}
    return Experience(
        index=index,
        name=about["name"],
        kind=kind,
        task_label=index if own else 0,
        classes=tuple(about["classes"]),
        candidates=about["candidates"],
        scored=None if about["scored"] is None else frozenset(about["scored"]),
        **nothing,
    )
