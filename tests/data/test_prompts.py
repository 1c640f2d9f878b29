"""A template stands around each text; where both are too long, the text loses its end."""

from __future__ import annotations

from typing import Any

import pytest
from data.test_forms import byte_level
from transformers import PreTrainedTokenizerFast

from cl.data.encode import Encoder
from cl.data.prompts import Template
from cl.models.backbone import word_pieces
from cl.types import UserError

TEMPLATE = "Review: {text} Was it good or bad?"
TEXTS = ["it was good", "so bad it was", "good, good and once more good food"]


def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    return {"word pieces": word_pieces([TEMPLATE.format(text=" ".join(TEXTS))], 200), "byte level": byte_level()}


def rows(encoded: Any) -> list[list[int]]:
    return [encoded.ids[a:b].tolist() for a, b in zip(encoded.offsets, encoded.offsets[1:], strict=False)]


@pytest.mark.parametrize("form", tokenizers())
def test_what_fits_is_the_text_within_the_template(form: str) -> None:
    tokenizer = tokenizers()[form]
    encoded = Encoder(tokenizer, 200, prompt=TEMPLATE).encode(TEXTS, "sequence")
    assert rows(encoded) == [tokenizer(TEMPLATE.format(text=text)).input_ids for text in TEXTS]
    assert not encoded.cut.any()


@pytest.mark.parametrize("form", tokenizers())
@pytest.mark.parametrize("overflow", ["cut", "split"])
def test_too_long_a_text_loses_its_end_and_the_template_nothing(form: str, overflow: Any) -> None:
    """Windows too have the whole template around them, and all of the text between them."""
    tokenizer = tokenizers()[form]
    alone = len(tokenizer(TEMPLATE.format(text="")).input_ids)
    short = tokenizer(TEMPLATE.format(text=TEXTS[2])).input_ids
    limit = alone + 4
    encoded = Encoder(tokenizer, limit, overflow=overflow, prompt=TEMPLATE).encode([TEXTS[2]], "sequence")
    before, _, after = TEMPLATE.partition("{text}")
    made = [tokenizer.decode(row, skip_special_tokens=True) for row in rows(encoded)]
    squeezed = ["".join(text.replace("Ġ", " ").split()).lower() for text in made]
    for text, row in zip(squeezed, rows(encoded), strict=True):
        assert len(row) <= limit < len(short)
        assert text.startswith("".join(before.split()).lower()) and text.endswith("".join(after.split()).lower())
    assert squeezed[0].startswith("".join((before + "good").split()).lower())
    assert encoded.cut.tolist() == [overflow == "cut"]
    if overflow == "split":
        inside = [text[len("review:") : -len("wasitgoodorbad?")] for text in squeezed]
        whole = "".join(TEXTS[2].split()).lower()  # the last window is as wide as the others
        assert whole.startswith(inside[0]) and whole.endswith(inside[-1]) and all(part in whole for part in inside)
        assert len("".join(inside)) >= len(whole)


def test_sentences_of_words_stand_alone() -> None:
    tokenizer = tokenizers()["word pieces"]
    words = [["it", "was", "good"]]
    assert rows(Encoder(tokenizer, 60, prompt=TEMPLATE).encode(words, "token")) == rows(
        Encoder(tokenizer, 60).encode(words, "token")
    )


def test_a_template_without_room_for_a_text_is_refused() -> None:
    with pytest.raises(UserError, match=r"network\.prompt\.template alone takes \d+ tokens: give at least"):
        Encoder(tokenizers()["word pieces"], 8, prompt=TEMPLATE)


def test_another_template_is_another_fingerprint() -> None:
    tokenizer = tokenizers()["word pieces"]
    prompts = ["", TEMPLATE, TEMPLATE + "!"]
    assert len({Encoder(tokenizer, 60, prompt=prompt).fingerprint for prompt in prompts}) == 3


def test_braces_are_no_places() -> None:
    assert Template.of('{"review": "{text}", "label": {').around("a {b}") == '{"review": "a {b}", "label": {'
