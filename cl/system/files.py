"""Files that others may read at any moment: each is the old one or the new one, never a part."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cl.types import UserError


def write_json(path: Path, value: Any) -> None:
    """Write `value` such that a crash leaves the old file or the new one. NaN and infinities become null."""
    write_text(path, json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text` such that a crash leaves the old file or the new one, never a part of it.

    What UTF-8 cannot say, such as half a surrogate pair in a folder's name, is escaped.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` such that a crash leaves the old file or the new one, never a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # two processes may write one file at once
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # the rename must not reach the disk before the text does
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises UserError where it is missing, damaged or no object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path}: damaged JSON ({error}); restore it or run the experiment again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds {type(value).__name__}, not an object; restore it or run the experiment again")
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
