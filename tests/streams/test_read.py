"""Readers: what they read, and what they refuse, saying where and what to do."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from reading import pairs, refused, sentences

from cl.streams.read import READERS, leaks, num_stray_tags, read_corpus, split_overlap, without_overlap
from cl.streams.readers import Columns, Csv, Datasets, Json, Jsonl, Reader, Tsv
from cl.streams.readers.files import split_path
from cl.streams.readers.tags import as_bio, best_scheme
from cl.streams.readers.tags import bio_of as read_as_bio
from cl.types import Corpus, Examples, UserError

Write = Callable[..., str]


# ------------------------------------------------------------------------------------ any text file


def test_byte_order_mark_and_windows_line_ends_are_no_text(write: Write) -> None:
    path = write(b"\xef\xbb\xbftext,label\r\ngood,1\r\n")
    assert pairs(Csv().read(path)) == [("good", "1")]


@pytest.mark.parametrize("odd", ["\x85", "\u2028", "\x0b", "\x1c"])
def test_lines_end_at_newlines_only(write: Write, odd: str) -> None:
    assert Tsv(text=0, label=1).read(write(f"one{odd}line\t1\n")).inputs == [f"one{odd}line"]
    assert Columns().read(write(f"a{odd}b\tO\nc\tO\n")).inputs == [[f"a{odd}b", "c"]]


def test_undecodable_bytes(write: Write) -> None:
    path = write(b"fine\t1\ncaf\xe9 noir\t0\n")
    refused(Tsv(text=0, label=1), path, f"{path}:2:", "byte 10", "0xe9", "utf-8", "`encoding`", "latin-1")
    assert Tsv(text=0, label=1, encoding="latin-1").read(path).inputs == ["fine", "café noir"]
    assert Tsv(text=0, label=1, undecodable="replace").read(path).inputs == ["fine", "caf\ufffd noir"]
    refused(Tsv(encoding="utf-9"), path, "'utf-9'", "utf-8")


def test_missing_files_and_folders(write: Write, tmp_path: Path) -> None:
    write("", "train.txt")
    refused(Columns(), str(tmp_path / "trian.txt"), "trian.txt", "mean 'train.txt'?", "folder has 'train.txt'")
    refused(Columns(), str(tmp_path), "a folder", "'train.txt'")
    refused(Columns(), str(tmp_path / "nowhere" / "train.txt"), "no folder", "nowhere")


# ------------------------------------------------------------------------------------- column files


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("Ann\tB-PER\nsings\tO\n\n.\tO\n", {}),
        ("Ann B-PER\nsings   O\n\n. O", {}),
        ("\n\nAnn\tB-PER\nsings\tO\n \t \n\n.\tO\n\n\n", {}),
        ("-DOCSTART- -X- -X- O\n\nAnn NNP I-NP B-PER\nsings VBZ I-VP O\n\n. . O O\n", {}),
        ("-DOCSTART-\n\nAnn B-PER\nsings O\n-DOCSTART-\n. O\n", {}),
        ("B-PER\t1\tAnn\nO\t2\tsings\n\nO\t1\t.\n", {"token": 2, "tag": 0}),
        ("Ann|B-PER\nsings|O\n\n.|O\n", {"delimiter": "|"}),
        ("Ann\tB-PER \nsings\t\tO\n\n.\tO\n", {"delimiter": "whitespace"}),
        ("# id 1\nAnn _ _ B-PER\nsings _ _ O\n\n# id 2 domain=en\n. _ _ O\n", {}),
        ("#\turl\t[2009]\n1\tAnn\tB-PER\tO\n2\tsings\tO\tO\n\n1\t.\tO\tO\n", {"token": 1, "tag": 2, "comment": "#"}),
        ("Ann\tB-HUM\nsings\tO\n\n.\tO\n", {"labels": {"HUM": "PER"}}),
    ],
)
def test_column_files(write: Write, content: str, options: dict[str, Any]) -> None:
    assert pairs(Columns(**options).read(write(content))) == sentences("Ann/B-PER sings/O", "./O")


def test_quotation_marks_are_tokens(write: Write) -> None:
    assert Columns().read(write('"\tO\nAnn\tB-PER\n"\tO\n')).inputs == [['"', "Ann", '"']]


@pytest.mark.parametrize("token", [" ", "", "\u3000", "\xa0"])
def test_blank_tokens_end_no_sentence(write: Write, token: str) -> None:
    assert pairs(Columns().read(write(f"a\tO\n{token}\tO\nb\tB-X\n"))) == [(["a", token, "b"], ["O", "O", "B-X"])]


def test_blank_tokens_between_spaces(write: Write) -> None:
    assert Columns().read(write("a O\n O\n\u3000 O\nb\xa0c B-X\n")).inputs == [["a", "", "\u3000", "b\xa0c"]]


def test_comments_that_read_as_rows_are_rows(write: Write) -> None:
    path = write("# one\n# O\nAnn B-PER\n# two Ann O\n# B-PER\n")
    assert pairs(Columns().read(path)) == sentences("#/O Ann/B-PER #/B-PER")


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("a\tO\nb\tx\tO\n", {}, [":2:", "3 column(s)", "line 1 has 2", "`delimiter`"]),
        ("a\tO\n\nb\n", {}, [":3:", "1 column(s)", "line 1 has 2"]),
        ("a,O\nb,O\n", {}, [":1:", "one column", "`delimiter`"]),
        ("a O\n", {"tag": 3}, [":1:", "2 column(s)", "`tag: 3`"]),
        ("a O\n", {"tag": 0}, [":1:", "one column", "`tag`"]),
        ("a\tO\nb\tPER\n", {}, [":2:", "'PER'", "'B-person'", "`scheme`"]),
        ("a\tO\nb\t\n", {}, [":2:", "''", "which column"]),
        ("a\tO\nb\tB-\n", {}, [":2:", "'B-'"]),
        ("a\tO\nb\tS-PER\n", {"scheme": "bio"}, [":2:", "'S-PER'", "`bio`", "`scheme`"]),
        ("a\tO\nb\tB\n", {}, [":2:", "'B'", "names no entity type", "`entity: disease`"]),
        ("a\tB-PER\nb\tB-LOK\n", {"labels": {"PER": "p", "LOC": "l"}}, [":2:", "'LOK'", "'PER', 'LOC'", "mean 'LOC'"]),
    ],
)
def test_refused_column_files(write: Write, content: str, options: dict[str, Any], words: list[str]) -> None:
    path = write(content)
    refused(Columns(**options), path, path, *words)


# ------------------------------------------------------------------------------------------ schemes


@pytest.mark.parametrize(
    ("scheme", "tags", "bio"),
    [
        ("bio", "O B-x I-x B-x B-y", "O B-x I-x B-x B-y"),
        ("iob1", "I-x O B-y I-y", "B-x O B-y I-y"),  # two ways to explain it: either way x is an entity
        ("bio", "O O", "O O"),
        ("iob1", "I-x I-x B-x I-x O I-y I-x", "B-x I-x B-x I-x O B-y B-x"),
        ("iob1", "I-x O", "B-x O"),
        ("iobes", "S-x B-x I-x E-x S-y O", "B-x B-x I-x I-x B-y O"),
        ("iobes", "B-x M-x E-x O", "B-x I-x I-x O"),  # BMES
        ("iobes", "U-x B-y L-y O", "B-x B-y I-y O"),  # BILOU
        ("iobes", "S-new-york", "B-new-york"),
        ("iobes", "I-x E-x O S-y", "B-x I-x O B-y"),  # without B-
        ("ioe2", "I-x E-x O E-y E-y", "B-x I-x O B-y B-y"),
        ("ioe1", "I-x I-x O I-y E-y I-y", "B-x I-x O B-y I-y B-y"),
    ],
)
def test_schemes_read_as_bio(scheme: str, tags: str, bio: str) -> None:
    letters = str.maketrans("MLUW", "IESS")  # as they are parsed
    tags = tags.translate(letters) if scheme == "iobes" else tags
    assert best_scheme([tags.split()]) == scheme
    assert read_as_bio({"train": [tags.split()]}, "auto", [])["train"] == [bio.split()]


def column_file(*sentences: str) -> str:
    return "\n\n".join("\n".join(f"w {tag}" for tag in sentence.split()) for sentence in sentences) + "\n"


def test_the_first_lines_of_a_famous_file(write: Write) -> None:
    path = write("Anna I-PER\nlives O\n\nthe O\nOslo B-MISC\nGames I-MISC\n")
    assert Columns().read(path).labels == [["B-PER", "O"], ["O", "B-MISC", "I-MISC"]]


def test_the_scheme_is_of_the_corpus_not_of_a_sentence(write: Write) -> None:
    """IOB1 with two B- where it has none: all of its entities are entities, in every split."""
    write(column_file(*["O I-x I-x O I-y"] * 300, "O B-x O", "B-y I-y"), "train.txt")
    write(column_file(*["O I-x O"] * 200, "B-x O"), "test.txt")
    notes = read_notes(write, Columns(), train="train.txt", test="test.txt")
    assert notes.splits["test"].labels[-2:] == [["O", "B-x", "O"], ["B-x", "O"]]
    assert notes.splits["train"].labels[0] == ["O", "B-x", "I-x", "O", "B-y"]
    assert "entities that are not written as the scheme iob1 has it: 2 in train, 1 in test" in notes.notes[0]


def test_stray_tags_in_number_are_refused_with_the_scheme_that_would_fit(write: Write) -> None:
    few = write(column_file(*["O B-x I-x O B-y"] * 300, "O I-x"))
    assert Columns().read(few).labels[-1] == ["O", "I-x"]  # a mistake among 601: counted, see check.warnings
    assert num_stray_tags(Columns().read(few)) == 1
    many = write(column_file(*["O B-x I-x O B-y"] * 30, "O I-x"))
    refused(Columns(), many, "1 of 61 entities begin with I-", "`scheme: iob1`", "`scheme: bio`")
    assert Columns(scheme="bio").read(many).labels[-1] == ["O", "I-x"]
    assert Columns(scheme="iob1").read(many).labels[-1] == ["O", "B-x"]
    iob1 = write(column_file(*["O I-x I-x O I-y"] * 30))
    refused(
        Columns(scheme="bio"), iob1, "60 of 60 entities are not written as the scheme `bio` has it", "`scheme: iob1`"
    )
    ioe2 = write(column_file(*["O I-x E-x O E-y"] * 30))
    assert Columns().read(ioe2).labels[0] == ["O", "B-x", "I-x", "O", "B-y"]


def test_splits_of_two_schemes_are_refused(write: Write) -> None:
    write(column_file(*["O I-x I-x O I-y"] * 300), "train.txt")
    write(column_file(*["O B-x I-x O B-y"] * 30), "test.txt")
    with pytest.raises(UserError, match=r"corpus n: test: 60 of 60 .* `iob1`.* fit `bio`. Set `scheme: iob1`"):
        read_notes(write, Columns(), train="train.txt", test="test.txt")
    corpus = read_notes(write, Columns(scheme="iob1"), train="train.txt", test="test.txt")
    assert corpus.splits["train"].labels[0] == corpus.splits["test"].labels[0] == ["O", "B-x", "I-x", "O", "B-y"]
    write(column_file(*["O S-x B-y E-y"] * 30), "test.txt")
    with pytest.raises(UserError, match="Set `scheme: iobes`"):
        read_notes(write, Columns(), train="train.txt", test="test.txt")
    assert read_notes(write, Columns(scheme="iobes"), train="train.txt", test="test.txt")


def read_notes(write: Write, reader: Reader, **files: str) -> Corpus:
    folder = Path(write("", "empty.txt")).parent
    return read_corpus("n", reader.kind, reader, {split: str(folder / name) for split, name in files.items()})


def test_another_column_with_many_more_entities_is_told(write: Write) -> None:
    """As where a file has nested entities in a column of their own; a parser's chunks are none."""
    rows = "Oslo B-NP B-place O\nis B-VP O O\n\n" * 6 + "Anna B-NP B-name B-part\n"
    write(rows, "train.txt")
    notes = read_notes(write, Columns(), train="train.txt").notes
    assert notes == ("n: train: column 2 has 7 entities, that of the tags (3) has 1: is `tag: 2` meant?",)
    assert read_notes(write, Columns(tag=2), train="train.txt").notes == ()


def test_labels_can_be_dropped(write: Write) -> None:
    """By null, or for a type by O: entities read as O, texts are left out; counted, and told."""
    write("Ann B-person\nsees O\nX B-product\nPro I-product\n", "train.txt")
    for nothing in (None, "O"):
        reader = Columns(labels={"person": "PER", "product": nothing})
        corpus = read_notes(write, reader, train="train.txt")
        assert corpus.splits["train"].labels == [["B-PER", "O", "O", "O"]]
        assert corpus.notes == ("n: 1 entities of train are dropped, as `labels` says: they read as O",)
    write("text,label\na,pos\nb,unsure\n", "train.csv")
    corpus = read_notes(write, Csv(labels={"pos": "good", "unsure": None}), train="train.csv")
    assert pairs(corpus.splits["train"]) == [("a", "good")]
    assert corpus.notes == ("n: train: 1 examples of 'unsure' are dropped, as `labels` says",)
    refused(Csv(labels={"pos": "a", "unsure": False}), write("text,label\na,pos\n"), "`labels` has false", "quotes")


@pytest.mark.parametrize(
    ("reader", "content", "words"),
    [
        (Jsonl(), '{"text": "a", "label": NaN}\n', [":1:", "nan", "no class"]),
        (Jsonl(), '{"text": "a", "label": ["x", "y"]}\n', [":1:", "several labels", "not supported"]),
        (Csv(), 'text,label\na,"[1, 2]"\n', [":2:", "several labels", "not supported"]),
        (Csv(), "text,label\n" + "".join(f"t{n},0.{n:02}\n" for n in range(1, 40)), ["39 different numbers", "cla"]),
        (Csv(), "text,label\n" + "".join(f"t{n},{n}\n" for n in range(40)), ["40 different numbers"]),
        (Csv(), "text,label\n" + "".join(f"t{n},{n / 8}\n" for n in range(20)), ["20 different numbers", "`labels`"]),
        (Csv(labels={"a": ""}), "text,label\nt,a\n", ["`labels` has an empty name"]),
        (Csv(columns=0), "text,label\nt,a\n", ["`columns` is 0"]),
        (Csv(), "text,label,label\nt,a,b\n", [":1:", "2 columns are named 'label'", "number"]),
        (Csv(encoding="undefined"), "text,label\n", ["'undefined' cannot be used"]),
        (Csv(encoding="klingon"), "text,label\n", ["'klingon' cannot be used", "klingon"]),
        (Csv(encoding="a\0"), "text,label\n", ["cannot be used"]),
        (Jsonl(names=["no", "yes"]), '{"text": "a", "label": "maybe"}', [":1:", "'maybe'", "`names` ('no', 'yes')"]),
        (Jsonl(names=["no", "yes"]), '{"text": "a", "label": 2}', [":1:", "label 2 has no name"]),
        (Jsonl(tokens="w", tags="t"), '{"w": ["a", null], "t": ["O", "O"]}', [":1:", "token None is no string"]),
        (Jsonl(tokens="w", tags="t"), '{"w": [{"a": 1}], "t": ["O"]}', [":1:", "token {'a': 1} is no string"]),
        (Csv(text="label"), "text,label\na,x\n", ["one column", "`text`", "`label`"]),
        (Tsv(text=1, label=-1), "a\tx\n", ["one column"]),
        (Json(text="label"), '[{"label": "x"}]', ["one key", "`text`"]),
        (Json(tokens="t", tags="t"), '[{"t": ["O"]}]', ["one key", "`tokens`"]),
        (Csv(text=None), "text,label\na,x\n", ["`text` is None"]),
        (Csv(text=[]), "text,label\na,x\n", ["`text` is an empty list"]),
        (Csv(label=1.0), "text,label\na,x\n", ["`label` is 1.0"]),
        (Csv(label=True), "text,label\na,x\n", ["`label` is True"]),
        (Csv(label=["a", "b"]), "text,label\na,x\n", ["`label` is ['a', 'b']"]),
        (Jsonl(label=["a", "b"]), '{"text": "a", "label": 1}', ["`label` is ['a', 'b']"]),
        (Jsonl(text={"a": 1}), '{"text": "a", "label": 1}', ["`text` is {'a': 1}"]),
    ],
)
def test_what_is_no_class_and_what_is_no_column(write: Write, reader: Reader, content: str, words: list[str]) -> None:
    refused(reader, write(content), *words)


def test_numbers_are_classes_where_it_is_likely_or_said(write: Write) -> None:
    """Decided over all splits: a short one does not show how often a number stands there."""
    write("text,label\n" + "".join(f"t{n},{n % 77}\n" for n in range(400)), "train.csv")
    write("text,label\n" + "".join(f"t{n},{n}\n" for n in range(77)), "test.csv")
    corpus = read_notes(write, Csv(), train="train.csv", test="test.csv")
    assert ["77 different numbers" in note and "a class of its own" in note for note in corpus.notes] == [True]
    write("text,label\n" + "".join(f"t{n},{n / 2}\n" for n in range(40)), "halves.csv")
    named = Csv(labels={n / 2: f"about {n // 4}" for n in range(40)})
    assert len(set(read_notes(write, named, train="halves.csv").splits["train"].labels)) == 10


def test_a_file_that_cannot_be_read(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    path = write("text,label\n")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    refused(Csv(), path, path, "cannot be read: Permission denied")


def test_a_file_of_which_all_is_dropped(write: Write) -> None:
    write("text,label\na,unsure\n", "train.csv")
    with pytest.raises(UserError, match=r"no examples in it.*1 examples of 'unsure' are dropped, as `labels` says"):
        read_notes(write, Csv(labels={"unsure": None}), train="train.csv")


def test_bare_tags_get_a_type(write: Write) -> None:
    assert Columns(entity="gene").read(write("a\tB\nb\tI\nc\tO\n")).labels == [["B-gene", "I-gene", "O"]]


TYPES = st.sampled_from(["x", "y", "new-york"])
# An entity is its type and length; None is a token outside.
CHUNKS = st.lists(st.none() | st.tuples(TYPES, st.integers(1, 4)), min_size=1, max_size=8)


def bio_of(chunks: list[tuple[str, int] | None]) -> list[str]:
    return [t for c in chunks for t in (["O"] if c is None else [f"B-{c[0]}"] + [f"I-{c[0]}"] * (c[1] - 1))]


def iobes_of(chunks: list[tuple[str, int] | None]) -> list[str]:
    letters = {length: "B" + "I" * (length - 2) + "E" if length > 1 else "S" for length in range(1, 5)}
    return [t for c in chunks for t in (["O"] if c is None else [f"{letter}-{c[0]}" for letter in letters[c[1]]])]


def iob1_of(chunks: list[tuple[str, int] | None]) -> list[str]:
    tags: list[str] = []
    for chunk in chunks:
        if chunk is None:
            tags.append("O")
        else:
            first = "B" if tags and tags[-1][2:] == chunk[0] else "I"
            tags += [f"{first}-{chunk[0]}"] + [f"I-{chunk[0]}"] * (chunk[1] - 1)
    return tags


@given(st.lists(CHUNKS, min_size=1, max_size=5), st.sampled_from([bio_of, iobes_of, iob1_of]))
def test_every_scheme_is_recognised(corpus: list[Any], written: Callable[[Any], list[str]]) -> None:
    bio = [bio_of(chunks) for chunks in corpus]
    assert read_as_bio({"train": [written(chunks) for chunks in corpus]}, "auto", [])["train"] == bio


@given(
    st.lists(CHUNKS, min_size=1, max_size=5),
    st.sampled_from([bio_of, iobes_of, iob1_of]),
    st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["x", "z", None]), max_size=2),
)
def test_new_names_join_and_lose_no_entity(corpus: list[Any], written: Callable[[Any], list[str]], new: Any) -> None:
    """Two types that become one stay two entities where they stand side by side, in each scheme."""
    labels = {**{name: name for chunks in corpus for name in [c[0] for c in chunks if c]}, **new}
    tags = [written(chunks) for chunks in corpus]
    words = [["w"] * len(each) for each in tags]
    notes: list[str] = []
    found = as_bio({"train": Examples(words, tags)}, "auto", labels, notes)["train"].labels
    renamed = [[c and (labels[c[0]], c[1]) for c in chunks] for chunks in corpus]
    spread = [[None] * c[1] if c and c[0] is None else [c] for chunks in renamed for c in chunks]
    assert [tag for tags in found for tag in tags] == bio_of([c for each in spread for c in each])
    dropped = sum(bool(c) and c[0] is None for chunks in renamed for c in chunks)
    assert any(note.startswith(f"{dropped} entities of train are dropped") for note in notes) == (dropped > 0)


TOKENS = st.text(st.characters(exclude_characters="\t\n\r", codec="utf-8"), max_size=6).filter(
    lambda token: not token.startswith(("-DOCSTART-", "\ufeff"))
)


@given(st.lists(st.lists(st.tuples(TOKENS, st.sampled_from(["O", "B-x", "B-y"])), min_size=1), min_size=1))
def test_column_files_round_trip(tmp_path_factory: pytest.TempPathFactory, corpus: list[list[tuple[str, str]]]) -> None:
    path = tmp_path_factory.mktemp("columns") / "data.txt"
    path.write_bytes("\n".join("".join(f"{t}\t{tag}\n" for t, tag in rows) for rows in corpus).encode())
    expected = [([t for t, _ in rows], [tag for _, tag in rows]) for rows in corpus]
    assert pairs(Columns(comment="", scheme="bio").read(str(path))) == expected


# ---------------------------------------------------------------------------------------- csv and tsv

GOOD_BAD = [("good film", "1"), ("bad film", "0")]


@pytest.mark.parametrize(
    ("reader", "content"),
    [
        (Csv(), "text,label\ngood film,1\nbad film,0\n"),
        (Csv(text="review", label="stars"), "id,stars,review\n7,1,good film\n\n8,0,bad film"),
        (Csv(text=1, label=0), '"1","good film"\n"0","bad film"\n'),
        (Csv(text=1, label=0, header=True), "stars,review\n1,good film\n0,bad film\n"),
        (Csv(text=[1, 2], label=-1), "a,good,film,1\nb,bad,film,0\n"),
        (Csv(text=["a", "b"]), "a,b,label\ngood,film,1\nbad,film,0\n"),
        (Csv(delimiter=";"), "text;label\ngood film;1\nbad film;0\n"),
        (Tsv(), "text\tlabel\ngood film\t1\nbad film\t0\n"),
        (Tsv(text=0, label=1), " good film  \t1 \nbad film\t0\n"),
        (Tsv(text=1, label=0, delimiter=" ", columns=2), "1 good film\n0 bad film\n"),
        (Csv(text=1, label=0, columns=2, delimiter=" "), "1 good film\n0 bad film\n"),
        (Tsv(text=0, label=1, skip_empty=True), "good film\t1\n \t1\nbad film\t0\n"),
        (Tsv(text=0, label=1, labels={"pos": "1", "neg": "0"}), "good film\tpos\nbad film\tneg\n"),
        (Tsv(text=0, label=1, labels={1: "1", -1: "0"}), "good film\t1\nbad film\t-1\n"),
    ],
)
def test_delimited_files(write: Write, reader: Reader, content: str) -> None:
    assert pairs(reader.read(write(content))) == GOOD_BAD


def test_quoting_is_for_csv(write: Write) -> None:
    assert Csv().read(write('text,label\n"one, ""two""\nthree",1\n')).inputs == ['one, "two"\nthree']
    assert Tsv(text=0, label=1).read(write('"open\t1\n"two"\t0\n')).inputs == ['"open', '"two"']


def test_long_fields(write: Write) -> None:
    assert len(Csv().read(write(f"text,label\n{'x' * 200_000},1\n")).inputs[0]) == 200_000


@pytest.mark.parametrize(
    ("reader", "content", "words"),
    [
        (Csv(), "text,label\na,1\nb\n", [":3:", "1 column(s)", "line 1 has 2", "`columns`"]),
        (Csv(), 'text,label\n"a\nb",1\nc,d,1\n', [":4:", "3 column(s)"]),  # the quoted line end counts
        (Csv(), 'text,label\na,1\n"b,1\nc,1\n', [":3:", "no CSV", "`quoting: false`"]),
        (Csv(label="class"), "text,clas\na,1\n", [":1:", "'class'", "'text', 'clas'", "mean 'clas'", "by number"]),
        (Tsv(), "a\t1\nb\t0\n", [":1:", "'text'", "'a', '1'", "`text: 0`"]),
        (Csv(header=False), "text,label\na,1\n", [":1:", "'text'", "by number"]),
        (Tsv(text=0, label=2), "a\t1\n", [":1:", "2 column(s)", "no column 2"]),
        (Csv(), "text,label\na,1\n ,1\n", [":3:", "text is empty", "`skip_empty: true`"]),
        (Csv(), "text,label\na,1\nb,\n", [":3:", "label is empty", "`label`"]),
        (Csv(labels={"0": "neg", "1": "pos"}), "text,label\na,2\n", [":2:", "'2'", "'0', '1'", "`labels`"]),
    ],
)
def test_refused_delimited_files(write: Write, reader: Reader, content: str, words: list[str]) -> None:
    path = write(content)
    refused(reader, path, path, *words)


def test_messages_quote_no_whole_texts_or_lists(write: Write) -> None:
    with pytest.raises(UserError) as caught:
        Columns().read(write(f"1\t{'long ' * 1000}\n"))
    assert len(str(caught.value)) < 400
    with pytest.raises(UserError, match=r"'c9', 90 more\."):
        Csv().read(write(",".join(f"c{n}" for n in range(100)) + "\n"))


def test_refused_delimiters(write: Write) -> None:
    refused(Csv(delimiter="||"), write("a||b\n"), "'||'", "`quoting: false`")
    refused(Tsv(delimiter=""), write("a\n"), "`delimiter` is empty")


# -------------------------------------------------------------------------------------------- records


@pytest.mark.parametrize(
    ("reader", "record", "expected"),
    [
        (Jsonl(), {"text": "a", "label": "x"}, ("a", "x")),
        (Jsonl(), {"text": " a ", "label": 4}, ("a", "4")),
        (Jsonl(), {"text": "a", "label": True}, ("a", "true")),
        (Jsonl(text=["t", "b"], label="y"), {"t": "a", "b": "b", "y": 1.5}, ("a b", "1.5")),
        (Jsonl(text=["t", "b"], label="y"), {"t": None, "b": "b", "y": "x"}, ("b", "x")),
        (Jsonl(text=0, label=1), ["a", "x"], ("a", "x")),
        (Jsonl(names=["no", "yes"]), {"text": "a", "label": 1}, ("a", "yes")),
        (Jsonl(labels={1: "yes"}), {"text": "a", "label": 1}, ("a", "yes")),
        (Jsonl(names=["no", "yes"]), {"text": "a", "label": 1.0}, ("a", "yes")),
        (Jsonl(names=["no", "yes"]), {"text": "a", "label": "no"}, ("a", "no")),
        (Jsonl(), {"text": "a", "label": "[pos]"}, ("a", "[pos]")),
        (Jsonl(), {"text": "a", "label": "[{[]: 1}]"}, ("a", "[{[]: 1}]")),
        (Jsonl(tokens="tokens"), {"tokens": ["a", 1], "tags": ["B-x", "O"]}, (["a", "1"], ["B-x", "O"])),
        (Jsonl(tokens="tokens"), {"tokens": ["a", "b"], "tags": ["B-x", "O"]}, (["a", "b"], ["B-x", "O"])),
        (Jsonl(tokens="w", tags="t", names=["O", "S-x"]), {"w": ["a", "b"], "t": [1, 0]}, (["a", "b"], ["B-x", "O"])),
        (Jsonl(tokens="tokens", entity="x"), {"tokens": ["a"], "tags": ["B"]}, (["a"], ["B-x"])),
    ],
)
def test_records(write: Write, reader: Jsonl, record: Any, expected: tuple[Any, Any]) -> None:
    assert pairs(reader.read(write(f"\n{json.dumps(record)}\n"))) == [expected]
    path = write(json.dumps({"a": {"b": [record]}}))
    assert pairs(Json(**vars(reader)).read(f"{path}#a.b")) == [expected]


def test_records_without_tokens_or_texts_can_be_passed_over(write: Write) -> None:
    path = write('{"tokens": [], "tags": []}\n{"tokens": ["a"], "tags": ["O"]}\n')
    assert pairs(Jsonl(tokens="tokens").read(path)) == [(["a"], ["O"])]
    path = write('[{"text": null, "label": 1}, {"text": "a", "label": 1}]')
    refused(Json(), path, "record 1", "text is empty", "`skip_empty: true`")
    assert pairs(Json(skip_empty=True).read(path)) == [("a", "1")]


@pytest.mark.parametrize(
    ("reader", "content", "words"),
    [
        (Jsonl(), '{"text": "a", "label": 1}\n{"text" "b"}\n', [":2:9:", "no JSON", "`json`"]),
        (Jsonl(), '[\n{"text": "a"}]\n', [":1:2:", "one record", "`json`"]),
        (Json(), '[{"text": "a",\n "label" 1}]', [":2:10:", "no JSON", "`jsonl`"]),
        (Json(), '{"train": [], "test": []}', ["keys 'train', 'test'", "#key"]),
        (Json(), "[3]", ["record 1", "int", "'text'"]),
        (Json(text=0, label=2), '[["a", "b"]]', ["record 1", "list of 2", "2"]),
        (Jsonl(), '{"text": "a", "lable": 1}', [":1:", "'label'", "'text', 'lable'", "mean 'lable'"]),
        (Jsonl(), '{"text": ["a"], "label": 1}', [":1:", "the text is a list", "`tokens`"]),
        (Jsonl(), '{"text": "a", "label": null}', [":1:", "the label is None"]),
        (Jsonl(names=["a"]), '{"text": "a", "label": -1}', [":1:", "label -1", "there are 1"]),
        (Jsonl(tokens="t"), '{"t": "a b", "tags": ["O"]}', [":1:", "'t' is a str", "`tokens`"]),
        (Jsonl(tokens="t"), '{"t": ["a", "b"], "tags": ["O"]}', [":1:", "2 token(s)", "1 tag(s)"]),
        (Jsonl(tokens="t"), '{"t": ["a"], "tags": ["PER"]}', [":1:", "'PER'", "`scheme`"]),
        (Jsonl(tokens="t"), '{"t": ["a"], "tags": [3]}', [":1:", "'3'"]),
    ],
)
def test_refused_records(write: Write, reader: Reader, content: str, words: list[str]) -> None:
    path = write(content)
    refused(reader, path, path, *words)


def test_a_missing_key_of_a_json_file(write: Write) -> None:
    path = write('{"train": []}')
    refused(Json(), f"{path}#trian", f"{path}#trian", "'trian'", "mean 'train'")


def test_split_paths() -> None:
    assert split_path("a/b.json") == ("a/b.json", None)
    assert split_path("a/b.json#train") == ("a/b.json", "train")
    assert split_path("c#/b.json") == ("c#/b.json", None)
    assert split_path("c#/b.json#x.y") == ("c#/b.json", "x.y")


# ------------------------------------------------------------------------------------------- datasets


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The datasets library, with its cache in a fresh folder."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()
    return datasets


def test_saved_texts_with_class_labels(hub: Any, tmp_path: Path) -> None:
    features = hub.Features({"text": hub.Value("string"), "label": hub.ClassLabel(names=["neg", "pos"])})
    data = hub.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    hub.DatasetDict(train=data, test=data.select([1])).save_to_disk(str(tmp_path / "both"))
    data.save_to_disk(str(tmp_path / "one"))
    data.to_parquet(str(tmp_path / "one.parquet"))
    assert pairs(Datasets().read(f"{tmp_path}/both#test")) == [("b", "neg")]
    for path in ("both#train", "one", "one#train", "one.parquet"):
        assert pairs(Datasets().read(f"{tmp_path}/{path}")) == [("a", "pos"), ("b", "neg")]
    refused(Datasets(), f"{tmp_path}/both", "name one of its splits", "'train', 'test'", "#train")
    refused(Datasets(), f"{tmp_path}/both#tset", "no split 'tset'", "mean 'test'")
    refused(Datasets(text="txt"), f"{tmp_path}/both#test", "row 0", "'txt'", "mean 'text'")


def test_saved_sentences_with_class_labels(hub: Any, tmp_path: Path) -> None:
    tags = hub.Sequence(hub.ClassLabel(names=["O", "B-PER", "I-PER"]))
    features = hub.Features({"tokens": hub.Sequence(hub.Value("string")), "ner_tags": tags})
    rows = {"tokens": [["Ann", "Lee", "sings"], []], "ner_tags": [[1, 2, 0], []]}
    hub.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "ner"))
    reader = Datasets(tokens="tokens", tags="ner_tags")
    assert pairs(reader.read(str(tmp_path / "ner"))) == sentences("Ann/B-PER Lee/I-PER sings/O")


def test_unlabelled_rows_are_no_class(hub: Any, tmp_path: Path) -> None:
    features = hub.Features({"text": hub.Value("string"), "label": hub.ClassLabel(names=["neg", "pos"])})
    hub.Dataset.from_dict({"text": ["a"], "label": [-1]}, features=features).save_to_disk(str(tmp_path / "hidden"))
    refused(Datasets(), str(tmp_path / "hidden"), "row 0", "label -1", "labelled")


def test_a_folder_of_data_files(hub: Any, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "train.jsonl").write_text('{"text": "a", "label": 1}\n')
    assert pairs(Datasets(names=["no", "yes"]).read(f"{tmp_path}/folder#train")) == [("a", "yes")]


def test_a_hub_out_of_reach(hub: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach 'user/name' on the Hub")

    monkeypatch.setattr(hub, "load_dataset", offline)
    refused(Datasets(config="en"), "user/name#train", "user/name", "config: en", "reach", "connection", "save_to_disk")
    for name in ("none.parquet", "none#train"):
        refused(Datasets(), f"{tmp_path}/{name}", name.partition("#")[0], "not found")


# -------------------------------------------------------------------------------------------- corpora


def test_a_corpus(write: Write) -> None:
    paths = {"train": write("a\t1\nb\t0\n", "train.tsv"), "test": write("b\t0\n", "test.tsv")}
    corpus = read_corpus("reviews", "sequence", Tsv(text=0, label=1), paths)
    train, test = Examples(["a", "b"], ["1", "0"]), Examples(["b"], ["0"])
    assert corpus == Corpus("reviews", "sequence", {"train": train, "test": test})


@pytest.mark.parametrize("reader", [Columns(), Tsv(), Csv(), Jsonl()])
def test_a_split_without_examples(write: Write, reader: Reader) -> None:
    path = write(" \n\n")
    with pytest.raises(UserError, match=f"{path}: no examples.*'train' of corpus c"):
        read_corpus("c", reader.kind, reader, {"train": path})


def test_refused_corpora(write: Write) -> None:
    path = write("a\t1\n")
    with pytest.raises(UserError, match=r"corpus c.*'trian'.*Did you mean 'train'\?"):
        read_corpus("c", "sequence", Tsv(), {"trian": path})
    with pytest.raises(UserError, match=r"corpus c.*no train split.*`train:`"):
        read_corpus("c", "sequence", Tsv(), {"test": path})
    with pytest.raises(UserError, match=r"corpus c.*'token'.*read 'sequence'.*`tokens`"):
        read_corpus("c", "token", Jsonl(), {"train": path})


def test_overlap_of_splits() -> None:
    def split(letters: str) -> Examples:
        return Examples(list(letters), list(letters.upper()))

    corpus = Corpus("c", "sequence", {"train": split("aabcd"), "valid": split("bbe"), "test": split("aef")})
    assert split_overlap(corpus) == {("valid", "train"): 2, ("test", "train"): 1, ("test", "valid"): 1}
    (clean,) = without_overlap([corpus])
    assert clean.splits == {"train": split("cd"), "valid": split("bb"), "test": split("aef")}
    assert list(clean.splits) == ["train", "valid", "test"]
    assert split_overlap(clean) == {}
    assert clean.notes == (
        "c: 1 of 3 valid examples are dropped, as stream.drop_overlap says: they stand in a test split",
        "c: 3 of 5 train examples are dropped, as stream.drop_overlap says: they stand in a test split or in valid",
    )
    with pytest.raises(UserError, match=r"corpus c.*all of train"):
        without_overlap([Corpus("c", "sequence", {"train": split("a"), "test": split("a")})])


def test_test_examples_of_one_corpus_in_train_of_another() -> None:
    """For forgetting this is the leak that matters: what was tested is learnt again."""

    def corpus(name: str, train: str, test: str) -> Corpus:
        return Corpus(name, "sequence", {n: Examples(list(t), list(t)) for n, t in (("train", train), ("test", test))})

    corpora = [corpus("one", "abx", "cd"), corpus("two", "cdy", "e"), corpus("three", "cz", "a")]
    assert leaks(corpora) == (3, {(0, 1): 2, (0, 2): 1, (2, 0): 1})
    clean = without_overlap(corpora)
    assert leaks(clean) == (0, {})
    assert ["".join(each.splits["train"].inputs) for each in clean] == ["bx", "y", "z"]
    assert [each.splits["test"] for each in clean] == [each.splits["test"] for each in corpora]


def test_overlap_of_sentences() -> None:
    train = Examples([["New", "York"], ["New York"]], [["B-x", "I-x"], ["B-x"]])
    test = Examples([["New", "York"]], [["O", "O"]])
    corpus = Corpus("c", "token", {"train": train, "test": test})
    assert split_overlap(corpus) == {("test", "train"): 1}
    assert without_overlap([corpus])[0].splits["train"] == Examples([["New York"]], [["B-x"]])


@pytest.mark.parametrize("name", READERS)
def test_options_are_a_schema(name: str) -> None:
    schema = OmegaConf.structured(READERS[name])
    options = OmegaConf.create("labels: {0: negative, pos: positive}")
    reader = OmegaConf.to_object(OmegaConf.merge(schema, options))
    assert isinstance(reader, READERS[name])
    assert vars(reader) == vars(READERS[name]()) | {"labels": {0: "negative", "pos": "positive"}}


# ------------------------------------------------------------------------------------------ real files

DATA = Path(os.environ.get("CL_DATA") or Path(__file__).parents[3] / "shared" / "data")
SENTIMENT = {"0": "negative", "1": "positive"}

TOKEN_FILES = {  # file: sentences, tokens, entities, types
    "conll2003_bio/train.txt": (14041, 203621, 23429, 4),
    "conll2003_bio/dev.txt": (3250, 51362, 5938, 4),
    "conll2003_bio/test.txt": (3453, 46435, 5628, 4),
    "bc5cdr/train.tsv": (4560, 118170, 9385, 2),
    "bc5cdr/devel.tsv": (4581, 117453, 9593, 2),
    "bc5cdr/test.tsv": (4797, 124750, 9809, 2),
    "bc2gm/devel.tsv": (2519, 71042, 3061, 1),
    "ncbi_disease/test.tsv": (940, 24497, 960, 1),
    "mit_restaurant/train.txt": (7660, 70525, 15363, 8),
    "mit_restaurant/test.txt": (1521, 14256, 3151, 8),
    "msra_test/msra_test_bio.txt": (3442, 172601, 6190, 3),
    "crossner/ai/test.txt": (431, 12991, 1809, 14),
    "crossner/literature/test.txt": (416, 16157, 2266, 12),
    "crossner/music/test.txt": (465, 19605, 3336, 13),
    "crossner/politics/test.txt": (651, 27585, 4209, 9),
    "crossner/science/test.txt": (543, 19487, 3089, 17),
}

TEXT_FILES = {  # file: reader, texts, those of the four commonest labels
    "fdu_mtl/apparel.task.train": (Tsv(text=1, label=0, labels=SENTIMENT), 1600, [815, 785]),
    "fdu_mtl/imdb.task.test": (Tsv(text=1, label=0, labels=SENTIMENT), 400, [201, 199]),
    "fdu_mtl/dvd.task.train": (Tsv(text=1, label=0, labels=SENTIMENT, undecodable="replace"), 1600, [802, 798]),
    "fdu_mtl/sports_outdoors.task.train": (Tsv(text=1, label=0, labels=SENTIMENT, skip_empty=True), 1599, [810, 789]),
    "dsc3/Musical_Instruments_train.tsv": (Tsv(text=0, label=1, labels={-1: "neg", 1: "pos"}), 2374, [2000, 374]),
    "sent_labelled/imdb_labelled.txt": (Tsv(text=0, label=1, labels=SENTIMENT), 1000, [500, 500]),
    "banking77/train.csv": (Csv(label="category"), 10003, [187, 182, 181, 180]),
    "banking77/test.csv": (Csv(label="category"), 3080, [40] * 4),
    "clinc150/data_full.json#train": (Json(text=0, label=1), 15000, [100] * 4),
    "clinc150/data_full.json#oos_test": (Json(text=0, label=1), 1000, [1000]),
    "trec/TREC.train": (Tsv(text=1, label=0, delimiter=" ", columns=2, encoding="latin-1"), 5452, [962, 464, 421, 363]),
    "trec/TREC.test": (Tsv(text=1, label=0, delimiter=" ", columns=2, encoding="latin-1"), 500, [123, 55, 50, 47]),
    "ag_news_test/test.csv": (Csv(text=[1, 2], label=0), 7600, [1900] * 4),
    "zh_waimai10k/waimai_10k.csv": (Csv(text="review", labels=SENTIMENT), 11987, [7987, 4000]),
}


def real(name: str) -> str:
    path = DATA / name
    if not Path(split_path(str(path))[0]).exists():
        pytest.skip(f"{path} is not here (CL_DATA names its folder)")
    return str(path)


@pytest.mark.parametrize("name", TOKEN_FILES)
def test_real_sentences(name: str) -> None:
    examples = Columns().read(real(name))
    types = Counter(tag[2:] for tags in examples.labels for tag in tags if tag.startswith("B-"))
    tokens = sum(map(len, examples.inputs))
    assert (len(examples), tokens, types.total(), len(types)) == TOKEN_FILES[name]
    assert num_stray_tags(examples) == 0


@pytest.mark.parametrize("name", ["conll2003_bio/dev.txt", "crossner/science/test.txt"])
def test_real_bio_is_read_as_it_is(name: str) -> None:
    path = real(name)
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    written = [line.split("\t")[-1] for line in lines if line.strip()]
    assert [tag for tags in Columns().read(path).labels for tag in tags] == written


@pytest.mark.parametrize("name", TEXT_FILES)
def test_real_texts(name: str) -> None:
    reader, count, largest = TEXT_FILES[name]
    examples = reader.read(real(name))
    assert len(examples) == count
    assert [n for _, n in Counter(examples.labels).most_common(4)] == largest


def test_real_overlap() -> None:
    reader = Tsv(text=1, label=0, labels=SENTIMENT, undecodable="replace", skip_empty=True)
    total = 0
    for train in sorted(Path(real("fdu_mtl")).glob("*.task.train")):
        paths = {"train": str(train), "test": str(train.with_suffix(".test"))}
        corpus = read_corpus(train.name, "sequence", reader, paths)
        total += split_overlap(corpus).get(("test", "train"), 0)
        assert split_overlap(without_overlap([corpus])[0]) == {}
    assert total == 539
