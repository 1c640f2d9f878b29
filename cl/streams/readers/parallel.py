"""Files that go line by line: texts in one and their labels in another, or words and their tags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import ClassVar

from cl.streams.readers.base import Part
from cl.streams.readers.files import TextFile
from cl.streams.readers.labels import LabelledText, check_labels, label_name, labelled_texts
from cl.streams.readers.sentences import Tagged, Word
from cl.types import Examples, Kind, UserError


@dataclass
class Parallel(Tagged, TextFile):
    """Two files of as many lines: `train: {text: text.txt, label: labels.txt}`, or of words and tags that spaces
    separate, `train: {tokens: words.txt, tags: tags.txt}`.

    names: what integer labels or tags stand for, from 0.
    skip_empty: pass over examples with an empty text, which are errors otherwise.
    """

    names: list[str] = field(default_factory=list)
    skip_empty: bool = False

    example: ClassVar[str] = (
        "{name: tweets, kind: sequence, format: parallel, train: {text: train_text.txt, label: train_labels.txt}}"
    )

    def __post_init__(self) -> None:
        self.beside: dict[str, str] = {}  # the file of labels or of tags, once it is known

    @property
    def kind(self) -> Kind:
        return "token" if "tags" in self.beside else "sequence"

    def of_mapping(self, files: Mapping[str, Sequence[str]]) -> list[Part]:
        """The file of texts or words, whose reader knows the one beside it."""
        if set(files) not in ({"text", "label"}, {"tokens", "tags"}):
            raise UserError(f"the keys are {', '.join(files)}: give text and label, or tokens and tags, a file each")
        first, second = ("text", "label") if "text" in files else ("tokens", "tags")
        if len(files[first]) != len(files[second]):
            raise UserError(f"{len(files[first])} file(s) of {first}, {len(files[second])} of {second}: give as many")
        parts: list[Part] = []
        for path, other in zip(files[first], files[second], strict=True):
            reader = copy(self)
            reader.beside = {second: other}
            parts.append((reader, path))
        return parts

    def parse(self, path: str, notes: list[str]) -> Examples:
        """Texts with labels, or sentences with tags."""
        if not self.beside:
            raise UserError("where are the labels? Write `train: {text: text.txt, label: labels.txt}`.")
        lines = self._lines(path)
        if self.kind == "sequence":
            return labelled_texts(self._texts(lines), self.labels, self.skip_empty, notes)
        full = [line for line in lines if line[1].strip() or line[2].strip()]
        notes += [f"{len(lines) - len(full)} blank lines are passed over"] if len(full) < len(lines) else []
        return self.sentences(map(self._words, full), notes)

    def finish(self, splits: dict[str, Examples], notes: list[str]) -> dict[str, Examples]:
        """The same examples, tags in BIO."""
        if self.kind == "token":
            return super().finish(splits, notes)
        if not self.labels:
            check_labels(splits, notes)
        return splits

    def _lines(self, path: str) -> list[tuple[str, str, str]]:
        """Where each line stands, and what it is in either file."""
        (other,) = self.beside.values()
        mine, theirs = (self.content(file).removesuffix("\n").split("\n") for file in (path, other))
        if len(mine) != len(theirs):
            raise UserError(f"{path}: {len(mine)} lines, but {other} has {len(theirs)}. Each needs one in the other.")
        return [(f"{path}:{n}", *pair) for n, pair in enumerate(zip(mine, theirs, strict=True), 1)]

    def _texts(self, lines: list[tuple[str, str, str]]) -> Iterator[LabelledText]:
        for where, text, label in lines:
            yield where, text, label_name(label.strip(), self.names, where) if self.names else label

    def _words(self, line: tuple[str, str, str]) -> list[Word]:
        where, tokens, tags = line[0], line[1].split(), line[2].split()
        if len(tokens) != len(tags):
            raise UserError(f"{where}: {len(tokens)} token(s) but {len(tags)} tag(s). Correct the line.")
        return [(where, token, label_name(tag, self.names, where)) for token, tag in zip(tokens, tags, strict=True)]
