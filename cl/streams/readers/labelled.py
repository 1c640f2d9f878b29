"""What readers of tables and of records share: which values are a text and its label, or words and their tags."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cl.streams.readers.base import Column, as_columns
from cl.streams.readers.labels import LabelledText, Where, check_labels, label_name, labelled_texts
from cl.streams.readers.sentences import Tagged, Word
from cl.system.words import quoted
from cl.types import Examples, Kind, Pair, UserError

Lists = tuple[str, list[Any], list[Any]]  # where they stand, tokens, tags


@dataclass
class Labelled(Tagged):
    """text, label: a column's name in the header line or a key of a record, or the number of a column or a place in a
        list, from 0. A list of them for `text` is joined by spaces.
    pair: the two texts are a pair, such as premise and hypothesis, and encoded as the tokenizer encodes pairs.
    tokens, tags: the same of words and their tags, which are read instead if `tokens` is set. An example without
        tokens is passed over.
    names: what integer labels or tags stand for, from 0.
    where: the rows or records that are read, by the values that they have, such as `{domain: books}`. Empty: all.
    skip_empty: pass over examples with an empty text, which are errors otherwise.
    """

    text: Any = "text"
    label: Any = "label"
    pair: bool = False
    tokens: Any = None
    tags: Any = "tags"
    names: list[str] = field(default_factory=list)
    where: dict[Any, Any] = field(default_factory=dict)
    skip_empty: bool = False

    @property
    def kind(self) -> Kind:
        return "sequence" if self.tokens is None else "token"

    def values(self, path: str, column: Any) -> list[str]:
        """The different values of a column or key, in file order, of the rows that are read."""
        raise UserError(f"`each: {column}` is for formats with rows or records in a file")

    def finish(self, splits: dict[str, Examples], notes: list[str]) -> dict[str, Examples]:
        """The same examples, tags in BIO."""
        if self.tokens is not None:
            return super().finish(splits, notes)
        if not self.labels:
            check_labels(splits, notes)
        return splits

    def text_columns(self) -> Sequence[Column]:
        """The columns or keys of the option `text`: two of them for a pair."""
        columns = as_columns(self.text)
        if self.pair and len(columns) != 2:
            raise UserError(
                f"`pair: true` needs two text columns, such as `text: [premise, hypothesis]`, not {self.text!r}."
            )
        return columns

    def text_of(self, texts: Sequence[str]) -> str | Pair:
        """The texts of an example as one, joined by spaces, or as a pair. Empty where one of a pair is."""
        if not self.pair:
            return " ".join(texts)
        first, second = (text.strip() for text in texts)
        return Pair(first, second) if first and second else ""

    def _texts(self, rows: Iterable[LabelledText], where: Where, notes: list[str]) -> Examples:
        examples = labelled_texts(rows, self.labels, self.skip_empty, notes)
        where.tell(notes)
        return examples

    def _sentences(self, lists: Iterable[Lists], names: list[str], where: Where, notes: list[str]) -> Examples:
        """Sentences of lists; integer tags are places in `names`."""
        if self.pair:
            raise UserError("`pair` is for texts, and `tokens` reads sentences. Drop one of them.")
        empty: list[str] = []
        examples = self.sentences(_words(lists, names, empty), notes)
        where.tell(notes)
        notes += [f"{len(empty)} records without tokens are passed over"] if empty else []
        return examples


def _words(lists: Iterable[Lists], names: list[str], empty: list[str]) -> Iterator[list[Word]]:
    for where, tokens, tags in lists:
        if len(tokens) != len(tags):
            raise UserError(f"{where}: {len(tokens)} token(s) but {len(tags)} tag(s). Correct the record.")
        if tokens:
            pairs = zip(tokens, tags, strict=True)
            yield [(where, _word(token, where), label_name(tag, names, where)) for token, tag in pairs]
        else:
            empty.append(where)


def _word(token: Any, where: str) -> str:
    """A token as a string. A number is one; what is empty or several is none."""
    if isinstance(token, bool) or not isinstance(token, str | int | float):
        raise UserError(f"{where}: the token {quoted(token)} is no string. Correct the record, or check `tokens`.")
    return str(token)
