"""The other formats: CoNLL-U and CoNLL-2012, tags beside words, bare texts, tables of words."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from reading import pairs, refused, sentences

from cl.streams.read import read_corpus
from cl.streams.readers import Columns, Csv, Json, Jsonl, Reader, Tsv
from cl.streams.readers.conll import Conll2012, Conllu
from cl.streams.readers.inline import Inline
from cl.streams.readers.json_values import values_in
from cl.streams.readers.parallel import Parallel
from cl.streams.readers.plain import Blocks, Folders, Lines
from cl.types import Corpus, UserError

Write = Callable[..., str]

READ = sentences("Ann/B-PER Lee/I-PER sings/O", "./O")


def noted(reader: Reader, path: str) -> list[str]:
    notes: list[str] = []
    reader.parse(path, notes)
    return notes


# -------------------------------------------------------------------------------- how tags are written


@pytest.mark.parametrize(
    ("tags", "options"),
    [
        ("B-PER I-PER O O", {}),
        ("B_PER I_PER O O", {}),
        ("PER-B PER-I O O", {}),
        ("PER_B PER_E O O", {}),
        ("b-PER i-PER o o", {}),
        ("B-PER E-PER O O", {"scheme": "iobes"}),
        ("(PER* *) * *", {}),
        ("PER PER O O", {"scheme": "io"}),
        ("I-PER I-PER O O", {"scheme": "io"}),
        ("B I O O", {"entity": "PER"}),
        ("b i o o", {"entity": "PER"}),
    ],
)
def test_notations_of_tags(write: Write, tags: str, options: dict[str, Any]) -> None:
    a, b, c, d = tags.split()
    assert pairs(Columns(**options).read(write(f"Ann\t{a}\nLee\t{b}\nsings\t{c}\n\n.\t{d}\n"))) == READ
    record = {"w": ["Ann", "Lee", "sings", "."], "t": [a, b, c, d]}
    assert pairs(Jsonl(tokens="w", tags="t", **options).read(write(json.dumps(record)))) == sentences(
        "Ann/B-PER Lee/I-PER sings/O ./O"
    )


def test_bare_types_are_one_entity_side_by_side(write: Write) -> None:
    reader = Columns(scheme="io")
    assert reader.read(write("a X\nb X\nc Y\nd O\ne X\n")).labels == [["B-X", "I-X", "B-Y", "O", "B-X"]]
    refused(Columns(), write("a X\nb O\n"), ":1:", "'X' is no tag", "`io`")
    refused(reader, write("a X\nb B-X\n"), ":2:", "'B-X' is no tag of scheme `io`", "Drop `scheme`")
    refused(Columns(scheme="io", labels={"X": "x"}), write("a X\nb Y\n"), "'Y' is not in `labels`")


def test_brackets(write: Write) -> None:
    path = write("a (X)\nb (X*\nc *\nd *)\ne *\n\nf (Y*)\n")
    assert Columns().read(path).labels == [["B-X", "B-X", "I-X", "I-X", "O"], ["B-Y"]]
    refused(Columns(), write("a (X*\nb (Y)\nc *)\n"), ":2:", "inside another one")
    refused(Columns(), write("a (X(Y*\nb *))\n"), ":1:", "inside another one")
    refused(Columns(), write("a *\nb *)\n"), ":2:", "never began")
    refused(Columns(), write("a *\nb (X*\n\nc *\n"), ":2:", "ends inside an entity 'X'")


# ------------------------------------------------------------------------------------------------ marks


def test_marks_are_removed_from_tokens(write: Write) -> None:
    path = write("en:Ann B-PER\nen:Lee I-PER\nen:sings O\n\nen:. O\n")
    assert pairs(Columns(strip="^en:").read(path)) == READ
    path = write("en: O\nen:a O\n")
    assert Columns(strip="^en:").read(path).inputs == [["en:", "a"]]
    assert noted(Columns(strip="^en:"), path) == [
        "1 tokens are nothing but what `strip` removes: they stay as they are"
    ]
    refused(Columns(strip="["), path, "`strip` is '['", "regular expression")


@pytest.mark.parametrize("delimiter", [",", "\t", " "])
def test_quoted_tokens(write: Write, delimiter: str) -> None:
    content = '"a,b" O\n"""" O\nc B-X\n'.replace(" ", delimiter)
    assert Columns(quoting=True, delimiter=delimiter).read(write(content)).inputs == [["a,b", '"', "c"]]
    refused(Columns(quoting=True), write('a O\n"b O\n'), ":2:", "no CSV", "`quoting: false`")


def test_compressed_files(write: Write) -> None:
    packed = gzip.compress(b"text,label\na,x\n")
    assert pairs(Csv().read(write(packed, "a.csv.gz"))) == [("a", "x")]
    assert pairs(Json().read(write(gzip.compress(b'{"t": [{"text": "a", "label": "x"}]}')) + "#t")) == [("a", "x")]
    refused(Csv(), write(packed[:20]), "damaged gzip file")


# ------------------------------------------------------------------------------ CoNLL-U and CoNLL-2012

TREE = (
    "# newdoc\n# text = Ann Lee sings\n"
    "1-2\tAnn Lee\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "1\tAnn\tAnn\tPROPN\tNNP\t_\t3\tnsubj\t_\tName=B-PER|SpaceAfter=No\n"
    "2\tLee\tLee\tPROPN\tNNP\t_\t1\tflat\t_\tName=I-PER\n"
    "2.1\thas\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "3\tsings\tsing\tVERB\tVBZ\t_\t0\troot\t_\tSpaceAfter=No\n"
    "\n#\n1\t.\t.\tPUNCT\t.\t_\t0\troot\t_\t_\n\n"
)


def test_conllu(write: Write) -> None:
    for content in (TREE, TREE.replace("\n", "\r\n")):
        assert pairs(Conllu(key="Name").read(write(content))) == READ
    assert noted(Conllu(key="Name"), write(TREE)) == ["2 ranges of words and empty nodes are passed over"]
    column = "1\tAnn\tB-PER\t-\n2\tLee\tI-PER\t-\n3\tsings\tO\t-\n\n1\t.\t_\t-\n"
    assert pairs(Conllu(tag=2).read(write(column))) == READ
    refused(Conllu(), write(TREE), ":4:", "`key: Name`")
    refused(Conllu(key="Nam"), write(TREE), "no word has a value `Nam=…`", "'Name', 'SpaceAfter'", "mean 'Name'")
    bare = TREE.replace("=B-", "=").replace("=I-", "=")
    assert pairs(Conllu(key="Name", scheme="io").read(write(bare))) == READ


def test_conll2012(write: Write) -> None:
    """Sentences have as many columns as they have verbs."""
    row = "doc 0 {} {} NNP (TOP* - - - Speaker {} {} -\n"
    path = write(
        "#begin document (doc); part 000\n"
        + row.format(0, "Ann", "(PER*", "(ARG0*")
        + row.format(1, "Lee", "*)", "*)")
        + row.format(2, "sings", "*", "(V*)")
        + "\n"
        + row.format(0, ".", "*", "* *")
        + "\n#end document\n"
    )
    assert pairs(Conll2012().read(path)) == READ
    refused(Conll2012(), write("a b c d e f g h i j * -\n\na b c d\n"), ":3:", "4 column(s)")


# ----------------------------------------------------------------------------------- tags beside words


@pytest.mark.parametrize(
    ("reader", "content"),
    [
        (Inline(), "Ann=B-PER Lee=I-PER sings=O\n\n.=O\n"),
        (Inline(separator="/"), "\ufeffAnn/B-PER\tLee/I-PER  sings/O\r\n./O\r\n"),
        (Inline(separator="__"), "Ann__B-PER Lee__I-PER sings__O\n.__O"),
        (Inline(after="####", scheme="io"), "Ann Lee sings####Ann=PER Lee=PER sings=O\n.####.=O\n"),
    ],
)
def test_inline(write: Write, reader: Inline, content: str) -> None:
    assert pairs(reader.read(write(content))) == READ


def test_refused_inline(write: Write) -> None:
    assert Inline().read(write("a=b=O ==O\n")).inputs == [["a=b", "="]]
    refused(Inline(), write("a=O\nb O\n"), ":2:", "'b' has no '='", "`separator`")
    refused(Inline(after="####"), write("a=O\n"), ":1:", "nothing after '####'")
    refused(Inline(separator=" "), write("a=O\n"), "`separator` is ' '")


# -------------------------------------------------------------------------------------- texts and labels


def corpus(reader: Reader, kind: Any = "sequence", **sources: Any) -> Corpus:
    return read_corpus("c", kind, reader, sources)


def test_a_file_a_label(write: Write) -> None:
    good, bad, more = write("fine\n\nnice\n", "pos.txt"), write("bad\r\n", "neg.txt"), write("dull\n", "neg-2.txt")
    found = corpus(Lines(), train={"positive": good, "negative": [bad, more]})
    assert pairs(found.splits["train"]) == [
        ("fine", "positive"),
        ("nice", "positive"),
        ("bad", "negative"),
        ("dull", "negative"),
    ]
    assert pairs(corpus(Lines(label="x"), train=bad).splits["train"]) == [("bad", "x")]
    with pytest.raises(UserError, match=r"pos.txt: which label.*train: {positive: pos.txt"):
        corpus(Lines(), train=good)
    with pytest.raises(UserError, match=r"corpus c: train: a mapping of files is read by `format: lines`"):
        corpus(Csv(), train={"positive": good})


def test_a_folder_a_class(write: Write) -> None:
    for name in ("pos/1.txt", "pos/2.txt", "neg/1.txt", "neg/.hidden", "unsup/9.txt", "urls.txt", "pos/old/3.txt"):
        folder = write(f"text of\n{name}\n", f"train/{name}").removesuffix(f"/{name}")
    reader = Folders(labels={"pos": "good", "neg": "bad", "unsup": None})
    found = corpus(reader, train=folder)
    assert pairs(found.splits["train"]) == [
        ("text of\nneg/1.txt", "bad"),
        ("text of\npos/1.txt", "good"),
        ("text of\npos/2.txt", "good"),
    ]
    assert (
        "2 files or folders are passed over, as they lie in no class's folder: 'urls.txt', 'pos/old'" in found.notes[0]
    )
    assert "1 examples of 'unsup' are dropped" in found.notes[1]
    refused(Folders(), f"{folder}/urls.txt", "no such folder")
    refused(Folders(), f"{folder}/neg", "no folder in it, only '1.txt'")


def test_files_that_go_line_by_line(write: Write) -> None:
    text, label = write("good film\nbad, film\n", "text.txt"), write("1\r\n0", "labels.txt")
    found = corpus(Parallel(names=["neg", "pos"]), train={"text": text, "label": label})
    assert pairs(found.splits["train"]) == [("good film", "pos"), ("bad, film", "neg")]
    words, tags = write("Ann Lee sings\n\n.\n", "seq.in"), write("B-PER I-PER O\n\nO\n", "seq.out")
    found = corpus(Parallel(), "token", train={"tokens": words, "tags": tags})
    assert pairs(found.splits["train"]) == READ
    assert found.notes == ("c: train: 1 blank lines are passed over",)


@pytest.mark.parametrize(
    ("files", "kind", "message"),
    [
        ({"text": "a\nb\n", "label": "x\n"}, "sequence", r"text: 2 lines, but .*label has 1"),
        ({"text": "a\n\n", "label": "x\ny\n"}, "sequence", r"text:2: the text is empty"),
        (
            {"text": "a\n", "tags": "x\n"},
            "sequence",
            "the keys are text, tags: give text and label, or",
        ),
        ({"tokens": "a b\n", "tags": "O\n"}, "token", r"tokens:1: 2 token\(s\) but 1 tag\(s\)"),
        ({"tokens": "a\n", "tags": "O\n"}, "sequence", "of kind 'sequence', but its format and options read 'token'"),
    ],
)
def test_files_that_do_not(write: Write, files: dict[str, str], kind: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        corpus(Parallel(), kind, train={name: write(content, name) for name, content in files.items()})
    with pytest.raises(UserError, match="where are the labels"):
        corpus(Parallel(), train=write("a\n"))


def test_records_of_several_lines(write: Write) -> None:
    path = write("the $T$ is fine\nfood\n1\n\nbad $T$\nservice\n-1\n")
    assert pairs(Blocks().read(path)) == [("the $T$ is fine", "1"), ("bad $T$", "-1")]
    assert pairs(Blocks(target=1).read(path)) == [("the food is fine", "1"), ("bad service", "-1")]
    assert Blocks(text=[1, 0]).read(path).inputs == ["food the $T$ is fine", "service bad $T$"]
    refused(Blocks(lines_each=4), path, ":6:", "has 2 of 4 lines", "`lines_each`")
    refused(Blocks(label=3), path, "`label` is 3", "a line of 3")
    refused(Blocks(label=0), path, "one line of a record (0)")
    refused(Blocks(text="a"), path, "`text` is 'a'")


# ------------------------------------------------------------------------------------ tables of words


@pytest.mark.parametrize(
    ("words", "tags"),
    [
        ("['Ann', 'Lee', 'sings']", "['B-PER', 'I-PER', 'O']"),
        ('["Ann", "Lee", "sings"]', '["B-PER", "I-PER", "O"]'),
        ("['Ann' 'Lee'\n 'sings']", "['B-PER' 'I-PER' 'O']"),  # as numpy prints them
        ("[Ann, Lee, sings]", "[B-PER, I-PER, O]"),
        ("Ann Lee sings", "B-PER I-PER O"),
        ("['Ann', \"Lee\", 'sings']", "[1, 2, 0]"),
        ("['Ann', 'Lee', 'sings']", "[1 2 0]"),
        ("Ann Lee sings", "1 2 0"),
    ],
)
def test_lists_in_cells(write: Write, words: str, tags: str) -> None:
    quoted = ['"' + cell.replace('"', '""') + '"' for cell in (words, tags)]
    path = write(f"id,tokens,ner_tags\n1,{','.join(quoted)}\n2,[],[]\n3,['.'],\"['O']\"\n")
    names = ["O", "B-PER", "I-PER"] if "1" in tags else []
    reader = Csv(tokens="tokens", tags="ner_tags", names=names)
    assert pairs(reader.read(path)) == READ
    assert noted(reader, path) == ["1 records without tokens are passed over"]


def test_lists_hold_marks_and_quotes(write: Write) -> None:
    cell = str(["it's", '"', "a,b", "]", "\\", "..."])
    path = write(f"tokens\ttags\n{cell}\t{['O'] * 6}\n")
    assert Tsv(tokens="tokens").read(path).inputs == [["it's", '"', "a,b", "]", "\\", "..."]]
    for wrong, words in (("['a' 'b' ... 'c']", ["cut short"]), ("['a", ["no list"]), ("[['a']]", ["'['a']'"])):
        refused(Tsv(tokens=0, tags=1), write(f"{wrong}\t['O']\n"), ":1:" * (wrong != "[['a']]"))
        refused(Tsv(tokens=0, tags=1), write(f"{wrong}\t['O']\n"), *words[: wrong != "[['a']]"])
    refused(Tsv(tokens=0, tags=0), write("a\tO\n"), "one column (0)")


GMB = "Sentence #,Word,POS,Tag\nSentence: 1,Ann,NNP,B-PER\n{0},Lee,NNP,I-PER\n{0},sings,VBZ,O\nSentence: 2,.,.,O\n"


@pytest.mark.parametrize("number", ["", "Sentence: 1"])
def test_a_word_a_row(write: Write, number: str) -> None:
    reader = Csv(tokens="Word", tags="Tag", sentence="Sentence #")
    path = write(GMB.format(number).encode("latin-1"))
    assert pairs(reader.read(path)) == READ
    refused(replace(reader, tags="Tga"), path, ":1:", "'Tga'", "mean 'Tag'")
    refused(reader, write(GMB.format(number).replace("VBZ,O", "VBZ,VP")), ":4:", "'VP' is no tag")
    refused(Csv(sentence="Sentence #", text="Word", label="Tag"), path, "`sentence` is for words", "`tokens`")


# ------------------------------------------------------------------------------------- shapes of JSON


@pytest.mark.parametrize(
    "value",
    [
        {"id1": {"text": "a", "label": "x"}, "id2": {"text": "b", "label": "y"}},
        {"text": ["a", "b"], "label": ["x", "y"], "version": [1, 2, 3]},
        {"text": {"0": "a", "5": "b"}, "label": {"0": "x", "5": "y"}},
    ],
)
def test_shapes_of_records(write: Write, value: Any) -> None:
    read = [("a", "x"), ("b", "y")]
    assert pairs(Json().read(write(json.dumps(value)))) == read
    assert pairs(Json().read(write(json.dumps({"data": value})) + "#data")) == read


def test_values_one_after_another(write: Write) -> None:
    records = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    for content in ("\n\n".join(json.dumps(each, indent=2) for each in records), "".join(map(json.dumps, records))):
        assert pairs(Json().read(write(content))) == [("a", "x"), ("b", "y")]
    refused(Json(), write('{"text": "a", "label": "x"}\n{"text" 3}'), ":2:9:", "no JSON")
    tokens = {"words": [["Ann", "Lee", "sings"], ["."]], "tags": [["B-PER", "I-PER", "O"], ["O"]]}
    assert pairs(Json(tokens="words").read(write(json.dumps(tokens)))) == READ


def test_refused_shapes_of_records(write: Write) -> None:
    refused(Json(), write('{"id1": {"text": "a", "lable": "x"}}'), "record 'id1'", "mean 'lable'")
    refused(Json(), write('{"text": ["a"], "label": []}'), "different rows ('text' 1, 'label' 0)")
    refused(Json(), write('{"text": {"0": "a"}, "label": {"1": "x"}}'), "different rows")


# ---------------------------------------------------------------------------------------- rows by value


@pytest.mark.parametrize(
    ("reader", "content"),
    [
        (Csv(), "text,label,domain,n\na,x,books,1\nb,y,dvd,1\nc,x,books,2\n"),
        (Tsv(text=0, label=1), "a\tx\tbooks\nb\ty\tdvd\nc\tx\tbooks\n"),
        (Jsonl(), '{"text": "a", "label": "x", "domain": "books"}\n{"text": "b", "label": "y", "domain": " dvd"}\n'),
        (Json(), '{"text": ["a", "b"], "label": ["x", "y"], "domain": ["books", "dvd"]}'),
    ],
)
def test_rows_of_one_value(write: Write, reader: Any, content: str) -> None:
    column = 2 if isinstance(reader, Tsv) else "domain"
    path = write(content)
    dvd = replace(reader, where={column: "dvd"})
    assert pairs(dvd.read(path)) == [("b", "y")]
    assert "rows are left out, as `where` or `each` says" in noted(dvd, path)[0]
    assert reader.values(path, column) == ["books", "dvd"]
    refused(replace(reader, where={column: "dvds"}), path, "no row is as `where` says", "'books', 'dvd'", "mean 'dvd'")
    refused(replace(reader, where={column: None}), path, "`where` has None", "one value")


def test_several_values_and_numbers(write: Write) -> None:
    path = write("text,label,domain,n\na,x,books,1\nb,y,dvd,1\nc,x,books,2\n")
    assert pairs(Csv(where={"domain": "books", "n": 2}).read(path)) == [("c", "x")]
    refused(Csv(where={"domian": "books"}), path, "no column is named 'domian'", "mean 'domain'")
    words = write("Word,Tag,n,set\na,O,1,t\nb,O,1,t\nc,O,2,v\n")
    assert Csv(tokens="Word", tags="Tag", sentence="n", where={"set": "t"}).read(words).inputs == [["a", "b"]]


# ---------------------------------------------------------------------------------- several files a split


def test_several_files(write: Write) -> None:
    one, two = write("text,label\na,x\n", "part-1.csv"), write("text,label\nb,y\nc,\n", "part-2.csv")
    pattern = one.replace("part-1", "part-*")
    refusing = Csv(labels={"x": "x", "y": None})
    with pytest.raises(UserError, match=r"part-2.csv:3: the label is empty"):
        corpus(Csv(), train=pattern)
    write("text,label\nb,y\n", "part-2.csv")
    assert pairs(corpus(Csv(), train=pattern, test=[two, one]).splits["test"]) == [("b", "y"), ("a", "x")]
    assert corpus(refusing, train=pattern).notes == (
        f"c: train: {two}: 1 examples of 'y' are dropped, as `labels` says",
    )
    with pytest.raises(UserError, match=r"no file matches.*has 'part-1.csv', 'part-2.csv'"):
        corpus(Csv(), train=pattern.replace("part", "prat"))
    write("text,label\nd,z\n", "part-[3].csv")
    assert pairs(corpus(Csv(), train=one.replace("t-1.csv", "t-[3].csv")).splits["train"]) == [("d", "z")]
    empty = write("", "part-4.csv")
    assert corpus(Csv(), train=[one, empty]).notes == (f"c: train: {empty}: no examples in it",)


@pytest.mark.parametrize("reader", [Json(), Jsonl()])
@pytest.mark.parametrize(("text", "why"), [("[" * 200_000, "nested too deep"), ("1" * 5000, "digits")])
def test_json_that_python_does_not_read(write: Write, reader: Reader, text: str, why: str) -> None:
    refused(reader, write(text), "no JSON", why)


@pytest.mark.parametrize("options", [{"label": ["a", "b"]}, {"tokens": ["a"]}])
def test_keys_that_are_lists(write: Write, options: dict[str, Any]) -> None:
    refused(Json(**options), write('[{"text": "a", "label": "x"}]'), "give the name of a column or key")


def test_many_values_in_a_file_are_read_in_one_pass() -> None:
    """No copy of the rest for each of them: 20,000 took two minutes."""
    began = time.process_time()
    assert len(values_in('{"a": 1}\n' * 50_000, "f")) == 50_000
    assert time.process_time() - began < 5


def test_values_deeper_in_a_record_and_lists_of_one(write: Write) -> None:
    """As Label Studio and doccano export what was chosen."""
    record = {"data": {"text": "so good"}, "annotations": [{"result": [{"value": {"choices": ["pos"]}}]}]}
    reader = Json(text="data.text", label="annotations.0.result.0.value.choices")
    assert pairs(reader.read(write(json.dumps([record])))) == [("so good", "pos")]
    refused(Jsonl(), write('{"text": "a", "label": ["x", "y"]}'), "several labels of one example")
    refused(Json(text="data.txt"), write(json.dumps([record])), "no key 'txt'", "Did you mean 'text'")
