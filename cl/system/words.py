"""Words of messages: names in quotes, lists of them, and what a misspelt one may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: object, known: Iterable[object]) -> str:
    """` Did you mean 'train'?`, or nothing where no known word is near."""
    near = get_close_matches(str(word), [str(k) for k in known], n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def one_of(word: object, known: Iterable[object]) -> str:
    """The same, and where no known word is near, all of them: ` There are: train, valid, test.`"""
    names = [str(k) for k in known]
    return did_you_mean(word, names) or f" There are: {', '.join(names) or 'none'}."


def quoted(word: object) -> str:
    """`'a'`: a word for a message, cut short if it is a whole text."""
    text = repr(word)
    return text if len(text) <= 60 else f"{text[:60]}…{text[0]}"


def listed(words: Iterable[object], most: int = 10) -> str:
    """`'a', 'b'`: words for a message, the first few of many."""
    shown = [quoted(word) for word in words]
    more = [f"{len(shown) - most} more"] if len(shown) > most else []
    return ", ".join(shown[:most] + more) or "none"


def size(num_bytes: int) -> str:
    """`3.1 GB`, `120 MB`: bytes for a message, with as many digits as matter."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.{0 if num_bytes >= 1e7 else 2}f} MB"
