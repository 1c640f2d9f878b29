"""Encoding: nothing is lost, cut off or shifted silently."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from cl.data.encode import Encoder
from cl.models.backbone import word_pieces
from cl.runs.prepare import prepare
from cl.streams.stream import Stream
from cl.testing.tiny import tiny_config
from cl.types import Examples, Experience, Split, UserError

SENTENCES = [["Bali", "is", "warm"], ["a", "x-ray"], []]


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(word_pieces(["Bali is warm a"], 100), max_length=16)


def test_first_subtokens(encoder: Encoder) -> None:
    encoded = encoder.encode(SENTENCES, "token")
    tokenizer = encoder.tokenizer
    for i, words in enumerate(SENTENCES):
        ids = encoded.ids[encoded.offsets[i] : encoded.offsets[i + 1]]
        starts = encoded.positions[encoded.word_offsets[i] : encoded.word_offsets[i + 1]]
        assert ids.tolist() == tokenizer(words, is_split_into_words=True)["input_ids"]
        for word, start in zip(words, starts, strict=True):
            assert word.startswith(tokenizer.convert_ids_to_tokens(int(ids[start])).replace("[UNK]", word))


def test_a_word_is_read_at_its_first_piece(encoder: Encoder) -> None:
    encoded = encoder.encode([["Balis", "is", "warms", "a"], ["a", "Balis"]], "token")
    assert encoder.tokenizer.tokenize("Balis") == ["Bali", "##s"]
    assert encoded.positions.tolist() == [1, 3, 4, 6, 1, 2]


def test_a_sentence_over_the_limit_is_counted_and_keeps_its_words(encoder: Encoder) -> None:
    encoder = Encoder(encoder.tokenizer, max_length=5)
    encoded = encoder.encode([["is"] * 7, ["is"]], "token")
    assert encoded.positions.tolist() == [1, 2, 3, -1, -1, -1, -1, 1]
    assert encoded.cut.sum() == 1
    for long in ("is is is is", "is " * 50):  # counted once, however much of it is lost
        assert encoder.encode([long, "is"], "sequence").cut.sum() == 1


@pytest.mark.parametrize("blank", [" ", "\u200b", "\x07", ""])
def test_a_token_without_subtoken_stands_as_unknown(encoder: Encoder, blank: str) -> None:
    encoded = encoder.encode([["is", blank, "warm"], [blank]], "token")
    assert encoded.positions.tolist() == [1, 2, 3, 1]
    assert encoded.unknown.sum() == 2
    assert encoded.ids[2] == encoder.tokenizer.unk_token_id


def test_without_an_unknown_token_it_is_refused(encoder: Encoder) -> None:
    encoder.tokenizer.unk_token = None
    with pytest.raises(UserError, match=r"'\\u200b' has no sub-token"):
        encoder.encode([["is", "\u200b"]], "token")


def test_cache(encoder: Encoder, tmp_path: Path) -> None:
    plain = encoder.encode(SENTENCES, "token")
    cached = Encoder(encoder.tokenizer, 16, tmp_path)
    for _ in range(2):
        encoded = cached.encode(SENTENCES, "token")
        for name in ("ids", "offsets", "positions", "word_offsets"):
            np.testing.assert_array_equal(getattr(encoded, name), getattr(plain, name))
    (file,) = tmp_path.iterdir()
    for other, kind in (
        (SENTENCES[:2], "token"),
        ([*SENTENCES[:2], ["a"]], "token"),
        (["Bali is warm", "a"], "sequence"),
    ):
        again, right = cached.encode(other, kind), encoder.encode(other, kind)  # type: ignore[arg-type]
        assert (again.ids.tolist(), again.positions.tolist()) == (right.ids.tolist(), right.positions.tolist())
    for added in set(tmp_path.iterdir()) - {file}:
        added.unlink()
    file.write_bytes(b"torn")
    assert cached.encode(SENTENCES, "token").ids.tolist() == plain.ids.tolist()
    Encoder(encoder.tokenizer, 8, tmp_path).encode(SENTENCES, "token")
    assert len(list(tmp_path.iterdir())) == 2, "another limit is another entry"


def test_no_examples(encoder: Encoder) -> None:
    assert len(encoder.encode([], "token")) == 0


@pytest.mark.parametrize("obstacle", ["file in its place", "file above it", "no permission"])
def test_without_a_cache_folder_texts_are_encoded_all_the_same(encoder: Encoder, tmp_path: Path, obstacle: str) -> None:
    cache = tmp_path / "above" / "cache"
    if obstacle == "no permission":
        cache.mkdir(parents=True)
        cache.chmod(0o500)
        if os.access(cache, os.W_OK):
            pytest.skip("this user may write everywhere")
    else:
        blocked = cache if obstacle == "file in its place" else cache.parent
        blocked.parent.mkdir(exist_ok=True)
        blocked.write_text("")
    without = Encoder(encoder.tokenizer, 16, cache)
    for kind, inputs in (("token", SENTENCES), ("sequence", ["a text"])):
        found, expected = without.encode(inputs, kind), encoder.encode(inputs, kind)
        np.testing.assert_array_equal(found.ids, expected.ids)
    (note,) = without.notes
    assert f"the cache folder {cache} cannot be written" in note


def test_a_run_says_that_it_has_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert sum("cannot be written" in warning for warning in prepare(tiny_config()).warnings) == 1


def test_a_full_disk_leaves_no_part_of_an_entry(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, **arrays: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    without = Encoder(encoder.tokenizer, 16, tmp_path)
    without.encode(SENTENCES, "token")
    assert "No space left on device" in without.notes[0]
    assert not list(tmp_path.iterdir())


def test_no_room_for_a_word_is_refused(encoder: Encoder) -> None:
    with pytest.raises(UserError, match="adds 2 special tokens to each text: give at least 3"):
        Encoder(encoder.tokenizer, 2)


def test_half_a_character_is_refused() -> None:
    """Of a text that was cut in the middle of one; no tokenizer and no file takes it."""
    split = Split(Examples(["so good", "so \ud83d bad"], ["a", "b"]), "sequence")
    with pytest.raises(UserError, match=r"1 texts have half a character, as at the end of 'so \\ud83d'"):
        prepare(tiny_config(), Stream([Experience(0, "e", "sequence", 0, ("a", "b"), "seen", split, split, split)]))
