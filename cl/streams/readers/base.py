"""What a reader is: a dataclass that turns the files of a split into examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from cl.types import Examples, Kind, UserError

Column = str | int
Part = tuple["Reader", str]  # a file of a split, and what reads it


class Reader(ABC):
    """Reads one split of a corpus. A dataclass: its fields are its options and its config schema."""

    example: ClassVar[str] = ""
    """A corpus of this format, as it stands in a configuration."""

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """The kind of examples this reader, with these options, reads."""

    @abstractmethod
    def parse(self, path: str, notes: list[str]) -> Examples:
        """The examples at `path`, in file order, with tags as they are written there.

        What is dropped is counted in `notes`. Raises `UserError` for what it cannot read, naming where.
        """

    def finish(self, splits: dict[str, Examples], notes: list[str]) -> dict[str, Examples]:
        """The splits of one corpus as parsed, after what needs all of them: tags become BIO, labels are checked.

        What a user should know is added to `notes`. Raises `UserError` for what is no class or no tag.
        """
        return splits

    def read(self, path: str) -> Examples:
        """The examples of a split that stands alone."""
        return self.finish({path: self.parse(path, [])}, [])[path]

    def under(self, root: str, path: str) -> str:
        """The path of a file that a configuration names, where relative ones start from the folder `root`."""
        return str(Path(root, path))

    def of_mapping(self, files: Mapping[str, Sequence[str]]) -> list[Part]:
        """Of a split that is a mapping to files: each file, and what reads it. Raises `UserError` where that means
        nothing.
        """
        raise UserError(
            "a mapping of files is read by `format: lines` and `format: parallel`: give one file, or a list"
        )


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
