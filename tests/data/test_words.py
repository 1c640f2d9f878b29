"""Words in running text: with spaces or without, read where they begin or where they end."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from cl.data.encode import Encoder
from cl.data.running import running, spaced
from cl.models.backbone import word_pieces
from cl.models.options import Word
from cl.runs.prepare import encoder_for, prepare
from cl.testing.tiny import tiny_config
from cl.types import Pair, UserError

TEXTS = ["Anna Smith went to Rome in 1999 .", "Rome is far from Bern", "中国人在罗马", "中国人很好"]
CHINESE = ["中", "国", "人", "在", "罗", "马"]
Place = Literal["first", "last"]


def decoder(merges: int = 300) -> Any:
    """A byte-level tokenizer as decoders have it: no special tokens, no space before a text, digits one by one."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE())
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=256 + merges, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 9, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("Anna met Lee .", "Anna met Lee ."),
        ("我 是 安 娜 ， 你 呢 ？", "我是安娜，你呢？"),
        ("他 说 “ 好 ” — 真 的 …", "他说“好” —真的…"),
        ("これ は ペン です 。", "これはペンです。"),
        ("ฉัน รัก เธอ", "ฉันรักเธอ"),
        ("我 用 Python 写", "我用 Python 写"),
        ("안 녕 ㅋㅋ ㅠㅠ", "안 녕 ㅋㅋ ㅠㅠ"),
        ("she said “ yes ” — …", "she said “ yes ” — …"),
        ("１ ９ ９ ９ 年", "１９９９年"),
    ],
)
def test_a_space_stands_where_the_scripts_have_one(words: str, text: str) -> None:
    assert running(words.split(" ")) == text


def test_nothing_stands_before_the_first_word_nor_for_an_empty_one() -> None:
    assert spaced(["", "Anna", "", "met"]) == ["", "Anna", "", " met"]


@pytest.mark.parametrize(("word", "positions"), [("first", [0, 5]), ("last", [4, 9])])
def test_a_word_is_read_at_its_first_or_last_sub_token(word: Place, positions: list[int]) -> None:
    tokenizer = decoder(merges=0)
    encoded = Encoder(tokenizer, 64, word=word).encode([["Smith", "went"]], "token")
    assert tokenizer.convert_ids_to_tokens(encoded.ids) == [*"Smith", "Ġ", *"went"]
    assert encoded.positions.tolist() == positions


def test_a_number_keeps_the_space_before_it() -> None:
    """Digits are the same tokens with a space before them and without: that they are does not tell of glued words."""
    tokenizer = decoder()
    encoded = Encoder(tokenizer, 64).encode([["Rome", "1999"]], "token")
    assert tokenizer.convert_ids_to_tokens(encoded.ids)[-5:] == ["Ġ", "1", "9", "9", "9"]


@pytest.mark.parametrize(
    ("word", "positions", "cut"),
    [("first", [0, 3, 0, 3], [False, False]), ("last", [2, -1, 2, 5], [True, False])],
)
def test_a_word_is_cut_off_where_it_is_read(word: Place, positions: list[int], cut: list[bool]) -> None:
    """Tokens are letters and the space; there is room for six."""
    encoded = Encoder(decoder(merges=0), 6, word=word).encode([["abc", "def"], ["abc", "de"]], "token")
    assert encoded.positions.tolist() == positions
    assert encoded.cut.tolist() == cut


def test_windows_have_the_last_sub_tokens_of_their_words() -> None:
    tokenizer = word_pieces(["a b c d e f g h"], 99)
    words = ["ab", "c", "de", "fgh", "a", "bc", "d"]
    encoded = Encoder(tokenizer, 6, overflow="split", word="last").encode([words], "token")
    tokens = [tokenizer.convert_ids_to_tokens(encoded.ids[a:b]) for a, b in pairwise(encoded.offsets)]
    owned = [encoded.positions[a:b] for a, b in pairwise(encoded.word_offsets)]
    read = [row[place].removeprefix("##") for row, places in zip(tokens, owned, strict=True) for place in places]
    assert read == [word[-1] for word in words]


def test_word_pieces_of_han_are_the_same_with_spaces_and_without() -> None:
    tokenizer = word_pieces(["中 国 人 在 罗 马 ， Anna"], 99)
    words = [*CHINESE, "Anna", "，", "中", "国"]
    encoded = Encoder(tokenizer, 64).encode([words], "token")
    assert encoded.ids.tolist() == tokenizer(" ".join(words))["input_ids"]
    assert encoded.positions.tolist() == list(range(1, len(words) + 1))
    assert not encoded.word_by_word.any()


def test_characters_that_share_a_token_get_tokens_of_their_own_and_no_spaces() -> None:
    tokenizer = decoder()
    encoded = Encoder(tokenizer, 64, word="last").encode([CHINESE, ["Rome", "is"]], "token")
    assert encoded.word_by_word.tolist() == [True, False]
    positions = encoded.positions[: len(CHINESE)].tolist()
    first = [0, *(position + 1 for position in positions[:-1])]
    assert [tokenizer.decode(encoded.ids[a : b + 1]) for a, b in zip(first, positions, strict=True)] == CHINESE


def test_words_one_by_one_have_the_spaces_of_running_text() -> None:
    """A tokenizer with a token that holds a space."""
    tokenizer = decoder(merges=0)
    tokenizer.add_tokens(["( x"])
    words = ["a", "(", "x", "bc"]
    encoded = Encoder(tokenizer, 64).encode([words], "token")
    assert encoded.word_by_word.all()
    assert tokenizer.decode(encoded.ids) == "a ( x bc"
    assert encoded.positions.tolist() == [0, 1, 3, 5]


def test_characters_with_tokens_of_their_own_are_running_text() -> None:
    tokenizer = decoder(merges=0)
    encoded = Encoder(tokenizer, 64).encode([CHINESE], "token")
    assert not encoded.word_by_word.any()
    assert tokenizer.decode(encoded.ids) == "中国人在罗马"
    assert encoded.positions.tolist() == [0, 3, 6, 9, 12, 15]


def test_what_is_kept_of_first_sub_tokens_is_not_taken_for_last_ones(tmp_path: Path) -> None:
    tokenizer, words = decoder(merges=0), [["Smith", "went"]]
    first = Encoder(tokenizer, 64, tmp_path).encode(words, "token")
    last = Encoder(tokenizer, 64, tmp_path, word="last").encode(words, "token")
    assert first.positions.tolist() != last.positions.tolist()


@pytest.mark.parametrize(
    ("attention", "asked", "expected"),
    [("causal", "auto", "last"), ("auto", "auto", "first"), ("causal", "first", "first"), ("auto", "last", "last")],
)
def test_auto_is_the_last_sub_token_under_causal_attention(attention: str, asked: Word, expected: Place) -> None:
    config = tiny_config()
    network = replace(config.network, attention=attention, word=asked)
    prepared = prepare(replace(config, network=network))
    assert encoder_for(network, prepared.backbone, prepared.tokenizer, None).word == expected


@pytest.mark.parametrize("begins", ["", "<s>"])
def test_the_second_text_of_a_pair_begins_with_a_line_break(begins: str) -> None:
    """Else nothing would tell a decoder where it begins: `ab` + `c` would be `a` + `bc`."""
    tokenizer = decoder()
    if begins:  # a token at the very beginning tells nothing of the second text
        tokenizer.add_special_tokens({"bos_token": begins})
        form = {"single": f"{begins} $A", "pair": f"{begins} $A $B:1"}
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            **form, special_tokens=[(begins, tokenizer.bos_token_id)]
        )
    encoded = Encoder(tokenizer, 64).encode([Pair("Anna Smith", "is far"), Pair("Anna", " Smithis far")], "sequence")
    texts = [tokenizer.decode(encoded.ids[a:b]) for a, b in pairwise(encoded.offsets)]
    assert [text.removeprefix(begins) for text in texts] == ["Anna Smith\nis far", "Anna\n Smithis far"]


def test_a_text_without_a_token_is_refused() -> None:
    with pytest.raises(UserError, match="a text is empty, and this tokenizer puts no token of its own there"):
        Encoder(decoder(), 64).encode(["Rome", ""], "sequence")
