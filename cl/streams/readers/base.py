"""What readers share: from bytes to text, from fields to labels, and complaints that say where."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from cl.types import Examples, Kind, UserError

Column = str | int
Row = tuple[str, str, str]  # where it stands, its text, its label


class Reader(ABC):
    """Reads one split of a corpus. A dataclass: its fields are its options and its config schema."""

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """The kind of examples this reader, with these options, reads."""

    @abstractmethod
    def read(self, path: str) -> Examples:
        """The examples at `path`, in file order. Raises `UserError` for what it cannot read, naming where."""


@dataclass
class TextFile(Reader):
    """A reader of text files.

    encoding: any that Python knows. A byte order mark is tolerated.
    undecodable: `strict` refuses a file with bytes outside the encoding, `replace` reads them as U+FFFD.
    """

    encoding: str = "utf-8"
    undecodable: Literal["strict", "replace"] = "strict"

    def content(self, path: str) -> str:
        """The decoded file, line ends as they are."""
        data = file_at(path).read_bytes()
        try:
            text = data.decode(self.encoding, self.undecodable)
        except LookupError:
            raise UserError(f"encoding {self.encoding!r} is unknown. Try `utf-8`, `latin-1` or `gb18030`.") from None
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise UserError(
                f"{path}:{line}: byte {error.start} (0x{data[error.start]:02x}) is not {self.encoding}. Set `encoding` "
                "to the file's own (`latin-1` takes any byte), or `undecodable: replace`."
            ) from None
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
        raise UserError(f"{path}: there is no folder {str(file.parent)!r} (seen from {Path.cwd()}).")
    names = _names_in(file.parent)
    raise UserError(f"{path}: not found.{did_you_mean(file.name, names)} Its folder has {listed(names)}.")


def _names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def split_path(path: str) -> tuple[str, str | None]:
    """`data.json#train` → (`data.json`, `train`): a `#` after the last slash names a part of what is read."""
    folder, slash, name = path.rpartition("/")
    name, mark, part = name.partition("#")
    return folder + slash + name, part if mark else None


def did_you_mean(word: object, known: Iterable[object]) -> str:
    """` Did you mean 'train'?`, or nothing where no known word is near."""
    near = get_close_matches(str(word), [str(k) for k in known], n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def quoted(word: object) -> str:
    """`'a'`: a word for a message, cut short if it is a whole text."""
    text = repr(word)
    return text if len(text) <= 60 else f"{text[:60]}…{text[0]}"


def listed(words: Iterable[object], most: int = 10) -> str:
    """`'a', 'b'`: words for a message, the first few of many."""
    shown = [quoted(word) for word in words]
    more = [f"{len(shown) - most} more"] if len(shown) > most else []
    return ", ".join(shown[:most] + more) or "none"


def as_columns(column: Any) -> Sequence[Column]:
    """The columns of an option that takes one column or a list of them."""
    return [column] if isinstance(column, Column) else list(column)


def renamed(label: str, labels: Mapping[Any, str], where: str) -> str:
    """The label under its name in `labels`, or as it is where `labels` is empty."""
    if not labels:
        return label
    names = {str(key): name for key, name in labels.items()}  # YAML reads a bare 0 as a number
    if label not in names:
        raise UserError(
            f"{where}: label {quoted(label)} is not in `labels`, which has {listed(names)}."
            f"{did_you_mean(label, names)} Add it there, or correct the file."
        )
    return names[label]


def labelled_texts(rows: Iterable[Row], labels: Mapping[Any, str], skip_empty: bool) -> Examples:
    """Sequence examples: texts and labels without surrounding whitespace, labels renamed."""
    texts, names = [], []
    for where, text, label in rows:
        text, label = text.strip(), label.strip()
        if not text and skip_empty:
            continue
        if not text:
            raise UserError(f"{where}: the text is empty. Check the `text` option, or set `skip_empty: true`.")
        if not label:
            raise UserError(f"{where}: the label is empty. Check the `label` option, or remove this example.")
        texts.append(text)
        names.append(renamed(label, labels, where))
    return Examples(texts, names)
