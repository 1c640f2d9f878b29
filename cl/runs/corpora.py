"""From the entries of `stream.corpora` to corpora."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from inspect import isabstract
from typing import Any

from cl.config import StreamConfig, instantiate, locate
from cl.streams.holdout import hold_out
from cl.streams.read import READERS, Reader, Source, paths_of, read_corpus, without_overlap
from cl.streams.readers.labelled import Labelled
from cl.system.words import did_you_mean, listed, one_of
from cl.types import SPLITS, Corpus, UserError

# What people call formats elsewhere.
ALIASES = dict.fromkeys(("conll", "conll2003", "bio", "iob", "iobes", "txt", "ner"), "columns")
ALIASES |= dict.fromkeys(("hf", "huggingface", "hub", "parquet", "arrow"), "datasets") | {"ndjson": "jsonl"}
ALIASES |= dict.fromkeys(("doccano", "label-studio", "labelstudio", "prodigy", "spacy", "cluener"), "spans")
ALIASES |= {"conll-u": "conllu", "ontonotes": "conll2012", "text": "lines", "folder": "folders", "excel": "csv"}
OURS = ("name", "kind", "format", *SPLITS, "each")


def read_corpora(config: StreamConfig, notes: list[str]) -> list[Corpus]:
    """The corpora that a configuration names, splits held out where they have no file.

    What a user should know is added to `notes`. Raises `UserError` with all mistakes at once.
    """
    if not config.corpora:
        raise UserError(f"stream.corpora is empty: the scenario {config.scenario} needs at least one corpus")
    corpora, mistakes = list[Corpus](), []
    for number, entry in enumerate(config.corpora):
        try:
            corpora += _corpora({**config.defaults, **entry}, f"stream.corpora[{number}]", config.root, notes)
        except UserError as error:
            mistakes.append(str(error))
    if mistakes:
        raise UserError("\n".join(mistakes))
    if config.drop_overlap:
        corpora = without_overlap(corpora)  # before a split is cut from what leaks, and after
    corpora = [hold_out(corpus, config.hold_out, config.seed) for corpus in corpora]
    if config.drop_overlap:
        corpora = without_overlap(corpora)
    notes += [note for corpus in corpora for note in corpus.notes]
    return corpora


def reader_class(name: object, where: str) -> type[Reader]:
    """The reader of a format of `READERS` or a dotted path; `where` names the place in errors."""
    if (reads := str(name)) in READERS:
        return READERS[reads]
    if "." not in reads:
        called = f" It is called {ALIASES[reads]!r} here." if reads in ALIASES else did_you_mean(reads, READERS)
        raise UserError(
            f"{where}: there is no format {reads!r}.{called} There are: {', '.join(READERS)} (see `cl streams`). Or "
            "give the dotted path of a reader of yours."
        )
    found = locate(reads, where)
    if not (isinstance(found, type) and issubclass(found, Reader)):
        raise UserError(f"{where}: {reads} is no subclass of cl.streams.readers.Reader")
    if isabstract(found):
        raise UserError(f"{where}: {reads} lacks {', '.join(sorted(found.__abstractmethods__))}: define it")
    if not is_dataclass(found) or "__dataclass_fields__" not in vars(found):
        raise UserError(f"{where}: {reads} has no @dataclass above the class: add it")
    return found


def _corpora(entry: dict[str, Any], where: str, root: str | None, notes: list[str]) -> Iterator[Corpus]:
    """The corpus of an entry; with `each`, one for each value of that column or key."""
    _check_keys(entry, where)
    cls = reader_class(entry["format"], f"{where}.format")
    _check_options(entry, cls, where)
    options = {key: value for key, value in entry.items() if key not in OURS}
    reader = instantiate(cls, options, where)
    sources = _sources(entry, reader, where, root)
    if entry.get("each") is None:
        yield read_corpus(str(entry["name"]), entry["kind"], reader, sources)
        return
    column, prefix = entry["each"], f"{entry['name']}-" if "name" in entry else ""
    for value, splits in _values(reader, column, sources, f"{where}.each", notes).items():
        of_value = instantiate(cls, {**options, "where": {**options.get("where", {}), column: value}}, where)
        yield read_corpus(prefix + value, entry["kind"], of_value, {split: sources[split] for split in splits})


def _values(
    reader: Reader, column: Any, sources: Mapping[str, Source], where: str, notes: list[str]
) -> dict[str, list[str]]:
    """The values of a column in train, in file order, and the splits that have them."""
    if not isinstance(reader, Labelled):
        raise UserError(f"{where}: this format has no rows with values: it is for csv, tsv, jsonl, json and datasets")
    found = {
        split: dict.fromkeys(value for path in paths_of(source) for value in reader.values(path, column))
        for split, source in sources.items()
    }
    if "" in found["train"]:
        raise UserError(f"{where}: a row has no value for {column!r}: fill it in, or take `where` in place of `each`")
    if unread := [value for values in found.values() for value in values if value not in found["train"]]:
        notes.append(f"{where}: examples of {listed(dict.fromkeys(unread))} are not read, as train has none")
    return {value: [split for split in found if value in found[split]] for value in found["train"]}


def _check_keys(entry: dict[str, Any], where: str) -> None:
    needed = ("kind", "format", "train") if entry.get("each") is not None else ("name", "kind", "format", "train")
    if missing := [key for key in needed if key not in entry]:
        others = [key for key in map(str, entry) if key not in OURS]
        meant = [key for key in others if did_you_mean(key, missing[:1])]
        hint = f": is {meant[0]!r} a misspelt {missing[0]}?" if meant else ""
        raise UserError(f"{where}: the key {missing[0]!r} is missing{hint}")
    if entry["kind"] not in ("sequence", "token"):
        raise UserError(f"{where}.kind is {entry['kind']!r}; it is sequence or token")


def _check_options(entry: dict[str, Any], cls: type[Reader], where: str) -> None:
    known = [*OURS, *(f.name for f in fields(cls) if f.init)]  # type: ignore[arg-type]
    if unknown := [key for key in entry if key not in known]:
        other = [name for name, each in READERS.items() if unknown[0] in each.__dataclass_fields__]  # type: ignore[attr-defined]
        hint = f" It is one of {', '.join(other)}: is `format` right?" if other else one_of(str(unknown[0]), known)
        raise UserError(f"{where}: format {entry['format']} has no option {unknown[0]!r}.{hint}")


def _sources(entry: dict[str, Any], reader: Reader, where: str, root: str | None) -> dict[str, Source]:
    """The files of each split, relative paths from `root`."""
    named = {str(name): entry[name] for name in SPLITS if entry.get(name)}
    for name, source in named.items():
        values = source.values() if isinstance(source, dict) else [source]
        leaves = [leaf for value in values for leaf in (value if isinstance(value, list) else [value])]
        if not leaves or not all(isinstance(leaf, str) for leaf in leaves):
            raise UserError(
                f"{where}.{name} is {source!r}: give the path of one file, a list of them, or a mapping to them"
            )
    if root is None:
        return named
    return {name: _mapped(source, lambda path: reader.under(root, path)) for name, source in named.items()}


def _mapped(source: Any, change: Callable[[str], str]) -> Any:
    """A source with each of its paths changed."""
    if isinstance(source, dict):
        return {key: _mapped(value, change) for key, value in source.items()}
    return [change(path) for path in source] if isinstance(source, list) else change(source)
