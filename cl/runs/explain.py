"""Which parts of a text made an answer: each is left out in turn, and what that does to the answer is told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cl.data.running import UNSPACED, running
from cl.reporting.explanations import Explanation
from cl.runs.predict import Predictor
from cl.types import Kind, UserError

MOST = 100  # parts of a text; of a longer one, words that stand beside each other are one part
WORD = re.compile(r"\S+")
PART = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")  # a word; a character of a script without spaces
Span = tuple[int, int]


class Answer(NamedTuple):
    """A label of the text, or of the words from `first` to before `last`: a name for each, and one for all."""

    first: int
    last: int
    names: list[str]
    name: str


def explain(
    cell: str | PathLike[str],
    text: str,
    after: Sequence[str] = (),
    experience: str | None = None,
    kind: Kind | None = None,
) -> list[Explanation]:
    """What the parts of a text do for the answers of a finished cell, or of the cell as it stood `after` experiences.

    A part's effect is by how much the probability of the answer falls as the part is left out (occlusion: Zeiler &
    Fergus, 2014: Visualizing and understanding convolutional networks). A text has one answer, its label; words have
    one for each entity, whose probability is the product over its words. Answers are those of the first network that
    is asked, and are followed through the others: so it shows what forgetting changes. `experience`, `kind`: as for
    `Predictor`. Raises `UserError` where there is nothing to explain.
    """
    found: list[Explanation] = []
    answers: list[Answer] = []
    for name in after or [""]:
        predictor = Predictor(cell, experience, kind, name or None)
        if predictor.cell.takes_pairs:
            raise UserError(f"{cell} has learnt pairs of texts: cl explain takes single texts")
        asked = predictor.kind_of(text)
        spans = parts_of(text, asked)
        parts = [text[first:last] for first, last in spans]
        answers = answers or _answers(predictor, asked, text, parts)
        names, tables = _asked(predictor, asked, text, spans)
        for answer in answers:
            whole = _probability(answer, names, tables[0])
            shown = running(parts[answer.first : answer.last]) if asked == "token" else ""
            effects: list[float | None] = []
            for number, table in enumerate(tables[1:]):
                if asked == "token" and answer.first <= number < answer.last:
                    effects.append(None)
                    continue
                before = int(asked == "token" and number < answer.first)  # its words stand one further to the front
                moved = answer._replace(first=answer.first - before, last=answer.last - before)
                effects.append(whole - _probability(moved, names, table))
            found.append(Explanation(answer.name, shown, name, whole, parts, effects))
    return found


def parts_of(text: str, kind: Kind) -> list[Span]:
    """Where the parts of a text stand in it: words, or a few of them together; words to be tagged each by itself."""
    spans = [match.span() for match in (WORD if kind == "token" else PART).finditer(text)]
    if not spans:
        raise UserError("the text is blank: give one with words")
    if kind == "sequence" and len(spans) > MOST:
        groups = np.array_split(np.array(spans), MOST)
        spans = [(int(group[0, 0]), int(group[-1, 1])) for group in groups]
    return spans


def _answers(predictor: Predictor, kind: Kind, text: str, parts: list[str]) -> list[Answer]:
    (said,) = predictor([parts if kind == "token" else text])
    if kind == "sequence":
        return [Answer(0, 1, [said["label"]], said["label"])]
    if not said["entities"]:
        raise UserError("no entity is found in the text, so there is nothing to explain: give another text")
    return [Answer(e["start"], e["end"], said["tags"][e["start"] : e["end"]], e["type"]) for e in said["entities"]]


def _asked(
    predictor: Predictor, kind: Kind, text: str, spans: list[Span]
) -> tuple[Sequence[str], list[NDArray[np.float64]]]:
    """The candidates; and their probabilities, a row a word or one for the text, of the whole and without each part."""
    words = [text[first:last] for first, last in spans]
    if kind == "token":
        inputs: list[object] = [words, *(words[:n] + words[n + 1 :] for n in range(len(words)))]
    else:
        inputs = [text, *(f"{text[:first].rstrip()} {text[last:].lstrip()}".strip() for first, last in spans)]
    there = [each for each in inputs if each]  # without its only part nothing is left
    found, names, texts, _ = predictor.probabilities(kind, there)
    numbers = (texts - texts.min()).numpy()
    tables = [found.numpy()[numbers == number] for number in range(len(there))]
    return names, tables + [np.zeros((0, len(names)))] * (len(inputs) - len(there))


def _probability(answer: Answer, names: Sequence[str], table: NDArray[np.float64]) -> float:
    """0 where its words are gone, or are cut off, or none of the candidates is called so."""
    if len(table) < answer.last or not set(answer.names) <= set(names):
        return 0.0
    columns = [names.index(name) for name in answer.names]
    return float(np.prod(table[np.arange(answer.first, answer.last), columns]))
