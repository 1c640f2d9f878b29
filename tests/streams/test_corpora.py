"""Entries of stream.corpora: files of a split, roots, a corpus for each value, readers of one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from reading import pairs

from cl.config import StreamConfig, instantiate, load
from cl.runs.corpora import OURS, read_corpora, reader_class
from cl.runs.listings import words_of
from cl.runs.streams import EXAMPLES, READS, refuse_unread
from cl.streams.readers import READERS, Datasets
from cl.types import UserError

Write = Callable[..., str]


def read(root: Path, *entries: dict[str, Any], notes: list[str] | None = None) -> dict[str, dict[str, Any]]:
    """The examples of each corpus by split, with paths from `root`."""
    config = StreamConfig(scenario="domain", root=str(root), corpora=list(entries), hold_out={})
    corpora = read_corpora(config, [] if notes is None else notes)
    return {each.name: {split: pairs(part) for split, part in each.splits.items() if len(part)} for each in corpora}


CSV: dict[str, Any] = {"name": "a", "kind": "sequence", "format": "csv"}


def test_files_of_a_split_start_from_the_root(write: Write, tmp_path: Path) -> None:
    write("text,label\na,x\n", "part-1.csv"), write("text,label\nb,y\n", "part-2.csv")
    both = [("a", "x"), ("b", "y")]
    for train in ("part-*.csv", ["part-1.csv", "part-2.csv"], ["part-1.csv", str(tmp_path / "part-2.csv")]):
        assert read(tmp_path, {**CSV, "train": train}) == {"a": {"train": both}}
    write("good\n", "pos.txt"), write("bad\n", "neg.txt")
    lines = {"name": "b", "kind": "sequence", "format": "lines", "train": {"p": "pos.txt", "n": ["neg.txt"]}}
    assert read(tmp_path, lines) == {"b": {"train": [("good", "p"), ("bad", "n")]}}


@pytest.mark.parametrize("train", [3, [3], {"p": 3}, [[]], {"p": {}}])
def test_what_is_no_path(tmp_path: Path, train: Any) -> None:
    with pytest.raises(UserError, match=r"corpora\[0\].train is .*: give the path of one file, a list of them"):
        read(tmp_path, {**CSV, "train": train})


def test_a_corpus_for_each_value(write: Write, tmp_path: Path) -> None:
    write("text,label,domain\na,x,dvd\nb,y,books\nc,x,dvd\n", "train.csv")
    write("text,label,domain\nd,x,dvd\ne,x,music\n", "test.csv")
    entry = {"kind": "sequence", "format": "csv", "each": "domain", "train": "train.csv", "test": "test.csv"}
    notes: list[str] = []
    expected = {"dvd": {"train": [("a", "x"), ("c", "x")], "test": [("d", "x")]}, "books": {"train": [("b", "y")]}}
    assert read(tmp_path, entry, notes=notes) == expected
    assert notes[0] == "stream.corpora[0].each: examples of 'music' are not read, as train has none"
    assert "dvd: train: 1 of 3 rows are left out, as `where` or `each` says" in notes
    assert list(read(tmp_path, {**entry, "name": "shop"})) == ["shop-dvd", "shop-books"]
    only_a = {**entry, "where": {"text": "a"}, "test": "train.csv"}
    assert read(tmp_path, only_a) == {"dvd": {"train": [("a", "x")], "test": [("a", "x")]}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"each": "domian"}, r"no column is named 'domian'.*Did you mean 'domain'\?"),
        ({"each": "note"}, r"stream.corpora\[0\].each: a row has no value for 'note'"),
        ({"format": "lines", "label": "x"}, r"stream.corpora\[0\].each: this format has no rows with values"),
        ({"each": None}, r"stream.corpora\[0\]: the key 'name' is missing"),
    ],
)
def test_refused_values(write: Write, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write("text,label,domain,note\na,x,dvd,\n", "train.csv")
    entry = {"kind": "sequence", "format": "csv", "each": "domain", "train": "train.csv", **change}
    with pytest.raises(UserError, match=message):
        read(tmp_path, entry)


MINE = '''
from dataclasses import dataclass
from cl.streams.readers import Reader
from cl.types import Examples

@dataclass
class Shouts(Reader):
    """Each line is loud."""

    mark: str = "!"

    @property
    def kind(self):
        return "sequence"

    def parse(self, path, notes):
        lines = open(path).read().split()
        return Examples([line + self.mark for line in lines], ["loud"] * len(lines))

    def finish(self, splits, notes):
        return splits

class Undeclared(Shouts):
    pass

@dataclass
class Half(Reader):
    mark: str = "!"
'''


def test_values_of_columns_by_number_and_of_nothing(write: Write, tmp_path: Path) -> None:
    write("text,label,domain\na,x,books\nb,y,films\n", "f.csv")
    numbered = {**CSV, "text": 0, "label": 1, "train": "f.csv", "each": "domain"}
    assert read(tmp_path, numbered) == {"a-books": {"train": [("a", "x")]}, "a-films": {"train": [("b", "y")]}}
    write('{"text": "a", "label": "x", "domain": "books"}\n{"text": "b", "label": "y", "domain": null}\n', "f.jsonl")
    records = {**CSV, "format": "jsonl", "train": "f.jsonl"}
    with pytest.raises(UserError, match="a row has no value for 'domain'"):
        read(tmp_path, {**records, "each": "domain"})
    with pytest.raises(UserError, match=r"`each` is \['domain'\]: give the name of a column or key"):
        read(tmp_path, {**records, "each": ["domain"]})


def test_values_are_alike_however_they_are_written(write: Write, tmp_path: Path) -> None:
    write('{"text": "a", "label": "x", "s": 5}\n{"text": "b", "label": "y", "s": 5.0}\n', "f.jsonl")
    five = {**CSV, "format": "jsonl", "train": "f.jsonl", "where": {"s": 5}}
    assert read(tmp_path, five) == {"a": {"train": [("a", "x"), ("b", "y")]}}
    write("text,label,v\na,x,True\nb,y,False\n", "f.csv")
    assert read(tmp_path, {**CSV, "train": "f.csv", "where": {"v": True}}) == {"a": {"train": [("a", "x")]}}


def test_a_bare_yes_is_no_name_of_a_label(write: Write, tmp_path: Path) -> None:
    write("good\n", "pos.txt")
    lines = {"name": "b", "kind": "sequence", "format": "lines", "train": {True: "pos.txt"}}
    with pytest.raises(UserError, match="a label is true, which is no name: put it in quotes"):
        read(tmp_path, lines)


def test_a_reader_of_ones_own(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(MINE, "my_reader.py"), write("hey you\n", "a.txt")
    monkeypatch.syspath_prepend(tmp_path)
    entry = {"name": "a", "kind": "sequence", "format": "my_reader.Shouts", "mark": "?", "train": "a.txt"}
    assert read(tmp_path, entry) == {"a": {"train": [("hey?", "loud"), ("you?", "loud")]}}
    assert words_of(reader_class("my_reader.Shouts", "format")) == ("Each line is loud.", {})
    for change, message in (
        ({"marc": "?"}, r"format my_reader.Shouts has no option 'marc'. Did you mean 'mark'\?"),
        ({"format": "my_reader.Undeclared"}, r"has no @dataclass above the class"),
        ({"format": "my_reader.Half"}, r"my_reader.Half lacks kind, parse"),
        ({"format": "my_reader.dataclass"}, r"no subclass of cl.streams.readers.Reader"),
        ({"format": "my_reader.Shuts"}, r"corpora\[0\].format: cannot import.*Did you mean 'Shouts'\?"),
        ({"format": "shouts"}, r"there is no format 'shouts'.*dotted path"),
    ):
        with pytest.raises(UserError, match=message):
            read(tmp_path, {**entry, **change})


def test_a_local_data_set_starts_from_the_root(write: Write, tmp_path: Path) -> None:
    write("{}", "saved/state.json")
    root = str(tmp_path)
    assert Datasets().under(root, "saved#train") == f"{root}/saved#train"
    assert Datasets().under(root, "./gone#train") == f"{root}/gone#train"
    assert Datasets().under(root, "gone.parquet") == f"{root}/gone.parquet"
    assert Datasets().under(root, "user/name#train") == "user/name#train"


# ------------------------------------------------------------------------------------- what is told of them


@pytest.mark.parametrize("name", READERS)
def test_each_option_has_its_words_and_each_format_an_example(name: str) -> None:
    cls = READERS[name]
    text, meanings = words_of(cls)
    options = {f.name for f in fields(cls) if f.init}  # type: ignore[arg-type]
    assert options <= set(meanings), "an option has no words in the docstring"
    assert set(meanings) <= options, "words of an option that is none"
    assert text and all(meanings.values())
    entry = yaml.safe_load(cls.example)
    reader = instantiate(cls, {key: value for key, value in entry.items() if key not in OURS}, name)
    assert entry["format"] == name
    assert reader.kind == entry["kind"]


@pytest.mark.parametrize("scenario", READS)
def test_each_scenario_has_an_example(write: Write, scenario: str) -> None:
    config = load(write(f"stream: {EXAMPLES[scenario]}\n", "example.yaml")).stream
    assert config.scenario == scenario
    refuse_unread(config)


def test_the_reader_of_the_readme(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    code = next(block for block in text.split("```python\n") if "class Brackets" in block).partition("```")[0]
    (tmp_path / "of_the_readme.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    write("[good] so nice\n[bad] so dull\n", "f.txt")
    entry = {"name": "a", "kind": "sequence", "format": "of_the_readme.Brackets", "train": "f.txt"}
    assert read(tmp_path, entry) == {"a": {"train": [("so nice", "good"), ("so dull", "bad")]}}
