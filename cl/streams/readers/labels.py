"""Labels: how values become names of classes, new names of them, and what is no class at all."""

from __future__ import annotations

import math
from ast import literal_eval
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cl.system.words import did_you_mean, listed, quoted
from cl.types import Examples, Pair, UserError

LabelledText = tuple[str, str | Pair, str]  # where it stands, its text, its label
FEW_NUMBERS, MOST_NUMBERS = 5, 20  # as many different numbers may be classes, such as grades


class Names:
    """New names of labels or entity types, as the option `labels` gives them; null drops what has that label."""

    def __init__(self, labels: Mapping[Any, Any]) -> None:
        for word in [*labels, *labels.values()]:
            if isinstance(word, bool):  # YAML reads a bare no, yes, on and off so
                raise UserError(f"`labels` has {str(word).lower()}, which is no name: put it in quotes.")
            if not isinstance(word, str | int | float | None):
                raise UserError(f"`labels` has {quoted(word)}: give a new name for each label, or null to drop it.")
            if isinstance(word, str) and not word.strip():
                raise UserError("`labels` has an empty name: give one, or null to drop what has that label.")
        self.names = {str(key): name if name is None else str(name) for key, name in labels.items()}

    def of(self, label: str, where: str) -> str | None:
        """The new name of a label; without any names, the label itself. Raises `UserError` for one that has none."""
        if not self.names or label in self.names:
            return self.names.get(label, label)
        raise UserError(
            f"{where}: label {quoted(label)} is not in `labels`, which has {listed(self.names)}."
            f"{did_you_mean(label, self.names)} Add it there (null drops it), or correct the file."
        )


class Where:
    """Which rows are read: those that have certain values, as the option `where` gives them."""

    def __init__(self, where: Mapping[Any, Any]) -> None:
        for column, value in where.items():
            if not isinstance(value, str | int | float):
                raise UserError(
                    f"`where` has {quoted(value)} for {column!r}: give one value, such as {{domain: books}}."
                )
        self.values = {column: as_text(value) for column, value in where.items()}
        self.left_out = 0
        self.kept = 0
        self.seen: dict[Any, Counter[str]] = {column: Counter() for column in where}

    def keeps(self, value_of: Callable[[Any], Any]) -> bool:
        """Whether a row, whose value in a column `value_of` tells, is read."""
        found = {column: as_text(value_of(column)) for column in self.values}
        for column, value in found.items():
            self.seen[column][value] += 1
        kept = found == self.values
        self.kept += kept
        self.left_out += not kept
        return kept

    def tell(self, notes: list[str]) -> None:
        """Notes what was left out. Raises `UserError` where that was all."""
        if not self.left_out:
            return
        if not self.kept:
            column = min(self.values, key=lambda each: self.seen[each][self.values[each]])
            raise UserError(
                f"no row is as `where` says ({self.values}): {column!r} has {listed(self.seen[column])}."
                f"{did_you_mean(self.values[column], self.seen[column])}"
            )
        notes.append(f"{self.left_out} of {self.left_out + self.kept} rows are left out, as `where` or `each` says")


def as_text(value: Any) -> str:
    """A value of a row as a string, alike however it is written: 5 for 5.0, true for True, nothing for null."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = "" if value is None else str(value).strip()
    return text.lower() if text in ("True", "False") else text


def labelled_texts(
    rows: Iterable[LabelledText], labels: Mapping[Any, Any], skip_empty: bool, notes: list[str]
) -> Examples:
    """Sequence examples: texts and labels without surrounding whitespace, labels renamed."""
    names, texts, kept, empty, dropped = Names(labels), list[str | Pair](), list[str](), 0, Counter[str]()
    for where, text, label in rows:
        text, label = text if isinstance(text, Pair) else text.strip(), label.strip()
        if not text and skip_empty:
            empty += 1
            continue
        if not text:
            raise UserError(f"{where}: the text is empty. Check the `text` option, or set `skip_empty: true`.")
        if not label:
            raise UserError(f"{where}: the label is empty. Check the `label` option, or remove this example.")
        if _is_list(label):
            raise UserError(f"{where}: {quoted(label)} are several labels of one example, which is not supported.")
        name = names.of(label, where)
        if name is None:
            dropped[label] += 1
            continue
        texts.append(text)
        kept.append(name)
    notes += [f"{count} examples of {label!r} are dropped, as `labels` says" for label, count in dropped.items()]
    notes += [f"{empty} examples with an empty text are dropped, as `skip_empty` says"] if empty else []
    return Examples(texts, kept)


def check_numbers(splits: Mapping[str, Examples], notes: list[str]) -> None:
    """Labels that may measure something instead of naming a class: refused where it is likely, else noted."""
    labels = [label for examples in splits.values() for label in examples.labels]
    distinct, half = sorted(set(labels)), len(labels) / 2
    values = [value for label in distinct if (value := _number(label)) is not None]
    if len(values) < len(distinct):
        return
    whole = all(value.is_integer() for value in values)
    are = f"the labels are {len(distinct)} different numbers ({listed(distinct, 3)})"
    if len(distinct) > (max(MOST_NUMBERS, half) if whole else min(MOST_NUMBERS, max(FEW_NUMBERS, half))):
        raise UserError(
            f"{are}: numbers to predict are not supported, only classes. Check the `label` option, cut them into "
            "classes first, or if they are classes, name each one in `labels`."
        )
    if len(distinct) > MOST_NUMBERS:
        notes.append(f"{are}: each is a class of its own. If they measure something, cut them into classes first")


def check_labels(splits: Mapping[str, Examples], notes: list[str]) -> None:
    """Raises `UserError` for labels that are no classes: numbers to predict, or another for nearly each example."""
    check_numbers(splits, notes)
    labels = [label for examples in splits.values() for label in examples.labels]
    distinct = set(labels)
    if len(distinct) > max(MOST_NUMBERS, len(labels) / 2):
        raise UserError(
            f"there are {len(distinct)} different labels for {len(labels)} examples, such as {quoted(labels[0])}: "
            "check which column or key the option `label` names."
        )


def _is_list(label: str) -> bool:
    """Whether a label is several, written as a list."""
    if not (label.startswith("[") and label.endswith("]")):
        return False
    try:
        return isinstance(literal_eval(label), list)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # all that it may raise
        return False


def _number(label: str) -> float | None:
    try:
        return float(label)
    except ValueError:
        return None


def label_name(value: Any, names: list[str], where: str) -> str:
    """A label as a string: a whole number by its name in `names`, if there are any."""
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where}: the label is {value}, which is no class. Remove the record, or name its class.")
    if isinstance(value, list) and len(value) == 1:  # as tools write the one choice that was made
        return label_name(value[0], names, where)
    if names:
        return _name_of(value, names, where)
    if isinstance(value, bool):
        return str(value).lower()  # as JSON writes it
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list | dict):
        raise UserError(f"{where}: {quoted(value)} are several labels of one example, which is not supported.")
    raise UserError(f"{where}: the label is {value!r}, neither a string nor a number. Check the option that names it.")


def _name_of(value: Any, names: list[str], where: str) -> str:
    """The name of a number, or a name itself."""
    if value in names:
        return str(value)
    if isinstance(value, str) and value.removeprefix("-").isdecimal():  # of a file where all is text
        value = int(value)
    if isinstance(value, int | float) and int(value) == value:
        if 0 <= value < len(names):
            return names[int(value)]
        raise UserError(f"{where}: label {value} has no name: there are {len(names)}, from 0. Is this split labelled?")
    raise UserError(f"{where}: label {quoted(value)} is neither one of `names` ({listed(names)}) nor a number of one.")
