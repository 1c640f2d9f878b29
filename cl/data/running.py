"""Words as running text: with a space between two of them, but where both are of a script that is written without."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Han, Hiragana and Katakana with their punctuation, Thai, Lao, Khmer and Myanmar. Korean has spaces: no Hangul.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u3190-\u9fff"
    "\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff9f\U00020000-\U0003ffff"
)
SHARED = "\u00b7\u2014\u2018\u2019\u201c\u201d\u2026"  # · — ‘ ’ “ ” …: of these scripts and of others
MEET = re.compile(f"[{UNSPACED}][{UNSPACED}{SHARED}]|[{SHARED}][{UNSPACED}]")


def spaced(words: Sequence[str]) -> list[str]:
    """Each word with the space that stands before it, if one does: put together they are the running text."""
    parts, last = list[str](), ""
    for word in words:
        space = " " if last and word and not MEET.fullmatch(last + word[0]) else ""
        parts.append(space + word)
        last = word[-1:] or last
    return parts


def running(words: Sequence[str]) -> str:
    """The running text of words."""
    return "".join(spaced(words))
