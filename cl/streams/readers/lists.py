"""Lists in a cell of a table, however whoever wrote it printed them."""

from __future__ import annotations

import json
import re
from ast import literal_eval
from typing import Any

from cl.system.words import quoted
from cl.types import UserError

STRING = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
ITEM = re.compile(rf"\s*({STRING}|[^\s,\[\]'\"]+)\s*(?:,|(?=\s|$|['\"]))", re.DOTALL)


def list_in(cell: str, where: str) -> list[Any]:
    """The items of a list as JSON, Python or numpy prints it; of a cell without brackets, its words.

    `"['EU', 'rejects']"` → `["EU", "rejects"]`, `"[3 0]"` → `[3, 0]`, `"EU rejects"` → `["EU", "rejects"]`. Raises
    `UserError` for what is no flat list, and for one that was cut short when it was printed.
    """
    text = cell.strip()
    if not text.startswith("["):
        return text.split()
    try:
        return list(json.loads(text))
    except ValueError:
        return _items(text, where)


def _items(text: str, where: str) -> list[Any]:
    """Items between brackets, each a string in quotes, a number or a bare word, with or without commas."""
    inner, position, items = text[1:-1], 0, []
    while inner[position:].strip():
        found = ITEM.match(inner, position)
        if not text.endswith("]") or found is None:
            raise UserError(f"{where}: {quoted(text)} is no list of words. Correct it, or check `tokens` and `tags`.")
        if found[1] == "...":
            raise UserError(f"{where}: the list {quoted(text)} was cut short when it was printed. Write it whole.")
        items.append(_value(found[1]))
        position = found.end()
    return items


def _value(item: str) -> Any:
    try:
        return literal_eval(item)
    except (ValueError, SyntaxError):
        return item
