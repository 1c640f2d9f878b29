"""What tests of readers share: examples as pairs, sentences in short, refusals with their words."""

from __future__ import annotations

from typing import Any

import pytest

from cl.streams.readers import Reader
from cl.types import Examples, UserError


def pairs(examples: Examples) -> list[tuple[Any, Any]]:
    return list(zip(examples.inputs, examples.labels, strict=True))


def sentences(*texts: str) -> list[tuple[list[str], list[str]]]:
    """`Ann/B-PER sings/O` → tokens and tags."""
    split = [[token.rsplit("/", 1) for token in text.split(" ")] for text in texts]
    return [([token for token, _ in words], [tag for _, tag in words]) for words in split]


def refused(reader: Reader, path: str, *words: str) -> None:
    """The reader refuses the file, in a message with all these words."""
    with pytest.raises(UserError) as caught:
        reader.read(path)
    message = str(caught.value)
    assert [word for word in words if word not in message] == [], message
