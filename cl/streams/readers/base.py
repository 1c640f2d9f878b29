"""What readers share: from bytes to text, from fields to labels, and complaints that say where."""

from __future__ import annotations

from abc import ABC, abstractmethod
from ast import literal_eval
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cl.system.words import did_you_mean, listed, quoted
from cl.types import Examples, Kind, Pair, UserError

Column = str | int
LabelledText = tuple[str, str | Pair, str]  # where it stands, its text, its label
FEW_NUMBERS, MOST_NUMBERS = 5, 20  # as many different numbers may be classes, such as grades


class Reader(ABC):
    """Reads one split of a corpus. A dataclass: its fields are its options and its config schema."""

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """The kind of examples this reader, with these options, reads."""

    @abstractmethod
    def parse(self, path: str, notes: list[str]) -> Examples:
        """The examples at `path`, in file order, with tags as they are written there.

        What is dropped is counted in `notes`. Raises `UserError` for what it cannot read, naming where.
        """

    @abstractmethod
    def finish(self, splits: dict[str, Examples], notes: list[str]) -> dict[str, Examples]:
        """The splits of one corpus as parsed, after what needs all of them: tags become BIO, labels are checked.

        What a user should know is added to `notes`. Raises `UserError` for what is no class or no tag.
        """

    def read(self, path: str) -> Examples:
        """The examples of a split that stands alone."""
        return self.finish({path: self.parse(path, [])}, [])[path]


@dataclass
class TextFile(Reader):
    """What all text files have.

    encoding: any that Python knows. A byte order mark is tolerated.
    undecodable: `strict` refuses a file with bytes outside the encoding, `replace` reads them as U+FFFD.
    """

    encoding: str = "utf-8"
    undecodable: Literal["strict", "replace"] = "strict"

    def content(self, path: str) -> str:
        """The decoded file, line ends as they are."""
        try:
            data = file_at(path).read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}.") from error
        try:
            text = data.decode(self.encoding, self.undecodable)
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise UserError(
                f"{path}:{line}: byte {error.start} (0x{data[error.start]:02x}) is not {self.encoding}. Set `encoding` "
                "to the file's own (`latin-1` takes any byte), or `undecodable: replace`."
            ) from None
        except (LookupError, ValueError) as error:
            raise UserError(
                f"encoding {self.encoding!r} cannot be used ({error}). Try `utf-8`, `latin-1` or `gb18030`."
            ) from error
        return text.removeprefix("\ufeff")

    def lines(self, path: str) -> list[str]:
        r"""The lines, cut at `\n` and `\r\n` only: U+0085 and U+2028, where `splitlines` cuts too, occur in texts."""
        return [line.removesuffix("\r") for line in self.content(path).split("\n")]


def file_at(path: str) -> Path:
    """The existing file of that name, `~` expanded."""
    file = Path(path).expanduser()
    if file.is_file():
        return file
    if file.is_dir():
        raise UserError(f"{path}: a folder. Name a file in it: it has {listed(_names_in(file))}.")
    if not file.parent.is_dir():
        raise UserError(f"{path}: there is no folder {str(file.parent)!r}{_nearest(file.parent)}")
    names = _names_in(file.parent)
    raise UserError(f"{path}: not found.{did_you_mean(file.name, names)} Its folder has {listed(names)}.")


def _nearest(folder: Path) -> str:
    """Of a folder that is not there: where the names end that are, and what may have been meant."""
    there = next(parent for parent in folder.absolute().parents if parent.is_dir())
    missing = folder.absolute().relative_to(there).parts[0]
    return f": {there} has no {missing!r}.{did_you_mean(missing, _names_in(there))} Check stream.root and the path."


def _names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def split_path(path: str) -> tuple[str, str | None]:
    """`data.json#train` → (`data.json`, `train`): a `#` after the last slash names a part of what is read."""
    folder, slash, name = path.rpartition("/")
    name, mark, part = name.partition("#")
    return folder + slash + name, part if mark else None


def as_columns(column: Any, option: str = "text") -> Sequence[Column]:
    """The columns of an option that takes one column or a list of them."""
    columns = column if isinstance(column, list) else [column]
    if not columns:
        raise UserError(f"`{option}` is an empty list: name a column or key, or several.")
    return [as_column(one, option) for one in columns]


def as_column(column: Any, option: str) -> Column:
    """A column by name or number. Raises `UserError` for anything else."""
    if isinstance(column, bool) or not isinstance(column, str | int) or column == "":
        raise UserError(f"`{option}` is {column!r}: give the name of a column or key, or its number from 0.")
    return column


def text_columns(text: Any, pair: bool) -> Sequence[Column]:
    """The columns of the option `text`: two of them for a pair."""
    columns = as_columns(text)
    if pair and len(columns) != 2:
        raise UserError(f"`pair: true` needs two text columns, such as `text: [premise, hypothesis]`, not {text!r}.")
    return columns


def as_text(texts: Sequence[str], pair: bool) -> str | Pair:
    """The texts of an example as one, joined by spaces, or as a pair. Empty where one of a pair is."""
    if not pair:
        return " ".join(texts).strip()
    first, second = (text.strip() for text in texts)
    return Pair(first, second) if first and second else ""


class Names:
    """New names of labels or entity types, as the option `labels` gives them; null drops what has that label."""

    def __init__(self, labels: Mapping[Any, Any]) -> None:
        for word in [*labels, *labels.values()]:
            if isinstance(word, bool):  # YAML reads a bare no, yes, on and off so
                raise UserError(f"`labels` has {str(word).lower()}, which is no name: put it in quotes.")
            if not isinstance(word, str | int | float | None):
                raise UserError(f"`labels` has {quoted(word)}: give a new name for each label, or null to drop it.")
            if isinstance(word, str) and not word.strip():
                raise UserError("`labels` has an empty name: give one, or null to drop what has that label.")
        self.names = {str(key): name if name is None else str(name) for key, name in labels.items()}

    def of(self, label: str, where: str) -> str | None:
        """The new name of a label; without any names, the label itself. Raises `UserError` for one that has none."""
        if not self.names or label in self.names:
            return self.names.get(label, label)
        raise UserError(
            f"{where}: label {quoted(label)} is not in `labels`, which has {listed(self.names)}."
            f"{did_you_mean(label, self.names)} Add it there (null drops it), or correct the file."
        )


def labelled_texts(
    rows: Iterable[LabelledText], labels: Mapping[Any, Any], skip_empty: bool, notes: list[str]
) -> Examples:
    """Sequence examples: texts and labels without surrounding whitespace, labels renamed."""
    names, texts, kept, empty, dropped = Names(labels), list[str | Pair](), list[str](), 0, Counter[str]()
    for where, text, label in rows:
        label = label.strip()
        if not text and skip_empty:
            empty += 1
            continue
        if not text:
            raise UserError(f"{where}: the text is empty. Check the `text` option, or set `skip_empty: true`.")
        if not label:
            raise UserError(f"{where}: the label is empty. Check the `label` option, or remove this example.")
        if _is_list(label):
            raise UserError(f"{where}: {quoted(label)} are several labels of one example, which is not supported.")
        name = names.of(label, where)
        if name is None:
            dropped[label] += 1
            continue
        texts.append(text)
        kept.append(name)
    notes += [f"{count} examples of {label!r} are dropped, as `labels` says" for label, count in dropped.items()]
    notes += [f"{empty} examples with an empty text are dropped, as `skip_empty` says"] if empty else []
    return Examples(texts, kept)


def check_numbers(splits: Mapping[str, Examples], notes: list[str]) -> None:
    """Labels that may measure something instead of naming a class: refused where it is likely, else noted."""
    labels = [label for examples in splits.values() for label in examples.labels]
    distinct, half = sorted(set(labels)), len(labels) / 2
    values = [value for label in distinct if (value := _number(label)) is not None]
    if len(values) < len(distinct):
        return
    whole = all(value.is_integer() for value in values)
    are = f"the labels are {len(distinct)} different numbers ({listed(distinct, 3)})"
    if len(distinct) > (max(MOST_NUMBERS, half) if whole else min(MOST_NUMBERS, max(FEW_NUMBERS, half))):
        raise UserError(
            f"{are}: numbers to predict are not supported, only classes. Check the `label` option, cut them into "
            "classes first, or if they are classes, name each one in `labels`."
        )
    if len(distinct) > MOST_NUMBERS:
        notes.append(f"{are}: each is a class of its own. If they measure something, cut them into classes first")


def check_labels(splits: Mapping[str, Examples], notes: list[str]) -> None:
    """Raises `UserError` for labels that are no classes: numbers to predict, or another for nearly each example."""
    check_numbers(splits, notes)
    labels = [label for examples in splits.values() for label in examples.labels]
    distinct = set(labels)
    if len(distinct) > max(MOST_NUMBERS, len(labels) / 2):
        raise UserError(
            f"there are {len(distinct)} different labels for {len(labels)} examples, such as {quoted(labels[0])}: "
            "check which column or key the option `label` names."
        )


def _is_list(label: str) -> bool:
    """Whether a label is several, written as a list."""
    if not (label.startswith("[") and label.endswith("]")):
        return False
    try:
        return isinstance(literal_eval(label), list)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # all that it may raise
        return False


def _number(label: str) -> float | None:
    try:
        return float(label)
    except ValueError:
        return None
