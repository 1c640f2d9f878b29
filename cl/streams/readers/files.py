"""From a path to text: compressed or not, one file or all that match a pattern, decoded."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Literal

from cl.streams.readers.base import Reader
from cl.system.words import did_you_mean, listed
from cl.types import UserError

GZIP = b"\x1f\x8b"  # how a compressed file begins, whatever its name


@dataclass
class TextFile(Reader):
    """encoding: any that Python knows. A byte order mark is tolerated, and a file may be compressed by gzip.
    undecodable: `strict` refuses a file with bytes outside the encoding, `replace` reads them as U+FFFD.
    """

    encoding: str = "utf-8"
    undecodable: Literal["strict", "replace"] = "strict"

    def content(self, path: str) -> str:
        """The decoded file, line ends as they are."""
        data = _bytes_of(path)
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


def _bytes_of(path: str) -> bytes:
    """What is in a file, decompressed."""
    try:
        data = file_at(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}.") from error
    if not data.startswith(GZIP):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: a damaged gzip file: {error}. Copy it again.") from error


def files_at(path: str) -> list[str]:
    """The path itself; of a pattern such as `part-*.csv` or `**/*.json#train` those that match, in alphabetical order.

    Raises `UserError` where none does.
    """
    source, part = split_path(path)
    file = Path(source).expanduser()
    if not has_magic(source) or file.exists():
        return [path]
    if found := sorted(glob(str(file), recursive=True)):
        return [each if part is None else f"{each}#{part}" for each in found]
    folder = next(parent for parent in file.parents if not has_magic(str(parent)))
    holds = f"has {listed(_names_in(folder))}" if folder.is_dir() else "is not there"
    raise UserError(f"{path}: no file matches. The folder {str(folder)!r} {holds}. Correct the pattern.")


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
