"""Files of bare texts: whose label is that of the file, of its folder, of a line below, or in a file beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from cl.streams.readers.base import Part, as_columns
from cl.streams.readers.files import TextFile
from cl.streams.readers.labels import LabelledText, check_labels, labelled_texts
from cl.system.words import listed
from cl.types import Examples, Kind, UserError

TARGET = "$T$"  # where a text leaves out what it is about


@dataclass
class Texts(TextFile):
    """labels: new names of the labels. Null drops the examples with a label; one that is not in it is an error.
    skip_empty: pass over examples with an empty text, which are errors otherwise.
    """

    labels: dict[Any, Any] = field(default_factory=dict)
    skip_empty: bool = False

    @property
    def kind(self) -> Kind:
        return "sequence"

    def parse(self, path: str, notes: list[str]) -> Examples:
        """Texts with their labels."""
        return labelled_texts(self._labelled(path, notes), self.labels, self.skip_empty, notes)

    def finish(self, splits: dict[str, Examples], notes: list[str]) -> dict[str, Examples]:
        """The same examples."""
        if not self.labels:
            check_labels(splits, notes)
        return splits

    def _labelled(self, path: str, notes: list[str]) -> Iterator[LabelledText]:
        raise NotImplementedError


@dataclass
class Lines(Texts):
    """A text a line, all of one label: `train: {positive: pos.txt, negative: neg.txt}`. Blank lines are skipped.

    label: the label of all texts, where a split is no mapping of labels to files.
    """

    label: str | None = None

    example: ClassVar[str] = (
        "{name: films, kind: sequence, format: lines, train: {positive: pos.txt, negative: neg.txt}}"
    )

    def of_mapping(self, files: Mapping[str, Sequence[str]]) -> list[Part]:
        """The files of each label."""
        return [(replace(self, label=label), path) for label, paths in files.items() for path in paths]

    def _labelled(self, path: str, notes: list[str]) -> Iterator[LabelledText]:
        if self.label is None:
            raise UserError("which label do its texts have? Write `train: {positive: pos.txt, negative: neg.txt}`.")
        for number, line in enumerate(self.lines(path), 1):
            if line.strip():
                yield f"{path}:{number}", line, self.label


@dataclass
class Folders(Texts):
    """A folder a class, a file a text: `train/positive/17.txt`. A split names the folder of the folders.

    Files beside the folders and folders inside them are passed over, and counted. Hidden ones are not looked at.
    """

    example: ClassVar[str] = "{name: films, kind: sequence, format: folders, train: films/train, test: films/test}"

    def _labelled(self, path: str, notes: list[str]) -> Iterator[LabelledText]:
        root = Path(path).expanduser()
        if not root.is_dir():
            raise UserError(f"{path}: no such folder. Name the one that has a folder of texts for each class.")
        beside = [entry for entry in _entries(root) if not entry.is_dir()]
        classes = [entry for entry in _entries(root) if entry.is_dir()]
        if not classes:
            raise UserError(f"{path}: no folder in it, only {listed(entry.name for entry in beside)}: one a class.")
        for folder in classes:
            for entry in _entries(folder):
                if entry.is_dir():
                    beside.append(entry)
                else:
                    yield str(entry), self.content(str(entry)), folder.name
        if beside:
            names = listed((str(entry.relative_to(root)) for entry in beside), 3)
            notes.append(f"{len(beside)} files or folders are passed over, as they lie in no class's folder: {names}")


@dataclass
class Blocks(Texts):
    """Records of several lines, such as a text, what it is about, and a label. Blank lines are skipped.

    lines_each: how many lines a record has.
    text, label: their lines in a record, from 0. A list of them for `text` is joined by spaces.
    target: the line that takes the place of `$T$` in the text. Null: `$T$` stays.
    """

    lines_each: int = 3
    text: Any = 0
    label: int = -1
    target: int | None = None

    example: ClassVar[str] = "{name: aspects, kind: sequence, format: blocks, target: 1, label: 2, train: laptops.raw}"

    def _labelled(self, path: str, notes: list[str]) -> Iterator[LabelledText]:
        places = [self._place("text", place) for place in as_columns(self.text)]
        label = self._place("label", self.label)
        if label in places:
            raise UserError(f"the text and the label are one line of a record ({label}). Correct `text` or `label`.")
        lines = [(number, line.strip()) for number, line in enumerate(self.lines(path), 1) if line.strip()]
        if left := len(lines) % self.lines_each:
            raise UserError(
                f"{path}:{lines[-left][0]}: the last record begins here and has {left} of {self.lines_each} lines. Set "
                "`lines_each`, or correct the file."
            )
        for start in range(0, len(lines), self.lines_each):
            record = [line for _, line in lines[start : start + self.lines_each]]
            text = " ".join(record[place] for place in places)
            if self.target is not None:
                text = text.replace(TARGET, record[self._place("target", self.target)])
            yield f"{path}:{lines[start][0]}", text, record[label]

    def _place(self, option: str, place: Any) -> int:
        if not isinstance(place, int) or not -self.lines_each <= place < self.lines_each:
            raise UserError(f"`{option}` is {place!r}: give the number of a line of {self.lines_each}, from 0.")
        return place % self.lines_each


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, without what is hidden, in alphabetical order."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
