"""Predictions: what a finished cell says of texts that nobody has labelled."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl.data.dataset import Store
from cl.data.running import MEET, running
from cl.evaluation.predictions import logits_of, places_of
from cl.evaluation.scores import TagSet
from cl.runs.restored import restored
from cl.streams.check import half_a_character
from cl.system.files import write_text
from cl.system.words import quoted
from cl.types import OUTSIDE, Examples, Experience, Kind, Pair, Split, UserError

log = logging.getLogger(__name__)
AT_ONCE = 512  # texts that are encoded together
Input = str | Pair | Sequence[str]
Answer = dict[str, Any]


class Predictor:
    """A finished cell that answers for texts: `Predictor("runs/mine/replay/seed0")(["so good", …])`.

    `experience`: the name of the one whose classes compete, or whose network answers; needed where a cell has several
    of those. `kind`: how a text is answered where the cell has learnt both kinds. `after`: the name of an experience,
    for the cell as it stood at its end. Raises `UserError` for a cell that is not finished or has no checkpoint.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        experience: str | None = None,
        kind: Kind | None = None,
        after: str | None = None,
    ) -> None:
        self.cell = restored(Path(folder), after)
        self.experience, self.kind = experience, self.cell.kind(kind, experience)
        if self.kind is not None:  # what is wrong is told before a text is read
            self.cell.experience(self.kind, experience)

    def __call__(self, inputs: Iterable[Input]) -> Iterator[Answer]:
        """What is predicted of each text, pair of texts (`cl.types.Pair`) or list of words, in order.

        Of a sequence `text`, `label`, its `probability`, and the `probabilities` of all candidates. Of words `tokens`,
        `tags`, the `probabilities` of these tags, and `entities`: `type`, `start`, `end` (the first word, and the first
        one after it) and `text`. A text is taken for words with blanks between them where words are tagged; one without
        blanks in a script that has none is refused. What is cut off (`network.overflow: cut`) has the tag O and no
        probability (None).
        """
        inputs = iter(inputs)
        num_cut = num_texts = 0
        while chunk := list(islice(inputs, AT_ONCE)):
            found = [(self.kind_of(given), isinstance(given, Pair)) for given in chunk]
            answers: dict[int, Answer] = {}
            for alike in dict.fromkeys(found):
                places = [place for place, other in enumerate(found) if other == alike]
                given, cut = self._answers(alike[0], [chunk[place] for place in places])
                answers |= zip(places, given, strict=True)
                num_cut += cut
            num_texts += len(chunk)
            yield from (answers[place] for place in range(len(chunk)))
        if num_cut:
            log.warning(
                "%d of %d texts are cut off at network.max_length: nothing was read after it", num_cut, num_texts
            )

    def kind_of(self, given: Input) -> Kind:
        """How an input is answered. Raises `UserError` for one that is none of the cell's, or where that is unclear."""
        is_text = isinstance(given, str | Pair) and self.kind != "token"
        if is_text and isinstance(given, Pair) != self.cell.takes_pairs:
            asked = 'pairs: give {"text": ["…", "…"]}' if self.cell.takes_pairs else "single texts"
            raise UserError(f"{quoted(given)}: the cell has learnt {asked}")
        if isinstance(given, Pair):
            return "sequence"
        if not isinstance(given, str):
            if "token" not in self.cell.kinds or self.kind == "sequence":
                raise UserError(f"{quoted(given)}: words are tagged by cells of kind token alone: give a text")
            return "token"
        if self.kind == "token" and len(given.split()) == 1 and MEET.search(given):
            raise UserError(
                f"{quoted(given)}: this script has no blanks between words, and words are tagged: give them as "
                '{"tokens": […]}, as long as those that were learnt (characters, or words)'
            )
        if self.kind is None:
            raise UserError(
                f"{quoted(given)}: the cell has learnt both to label texts and to tag words: say which, with --kind "
                'sequence or --kind token, or give words as {"tokens": […]}'
            )
        return self.kind

    def _answers(self, kind: Kind, inputs: Sequence[Input]) -> tuple[list[Answer], int]:
        """The answers, and how many texts are cut off."""
        if kind == "token":
            inputs = [given.split() if isinstance(given, str) else list(given) for given in inputs]
        found, names, texts, num_cut = self.probabilities(kind, inputs)
        answers = _labels(inputs, found, names) if kind == "sequence" else _tags(inputs, found, names, texts)
        return answers, num_cut

    def probabilities(self, kind: Kind, inputs: Sequence[Any]) -> tuple[Tensor, Sequence[str], Tensor, int]:
        """Of texts, pairs or lists of words of one kind: the probabilities `[N, C]` of each text or word, the names of
        its C candidates, the number of the text that each is in, `[N]`, and how many texts are cut off.
        """
        experience = self.cell.experience(kind, self.experience)
        store = self._store(experience, inputs)
        places = places_of(store, experience.index, "test")
        columns, names = self.cell.candidates(experience)
        found = self._probabilities(experience, store)[places.words][:, columns]
        return found, names, places.texts, int(store.cut.sum())

    def _store(self, experience: Experience, inputs: Sequence[Input]) -> Store:
        """The texts as the test split of an experience, with labels that nobody looks at."""
        kind, label = experience.kind, experience.classes[0]
        labels = [label if kind == "sequence" else [OUTSIDE] * len(given) for given in inputs]
        given = Examples(inputs, labels)
        if wrong := half_a_character(given):
            raise UserError(wrong)
        asked = replace(experience, test=Split(given, kind))
        every = [asked if e.index == experience.index else e for e in self.cell.experiences]
        return Store.build(every, self.cell.encoder)

    def _probabilities(self, experience: Experience, store: Store) -> Tensor:
        """`[words, C]` of each word of the store, float64; 0 for what is no candidate, and for words cut off."""
        learner = self.cell.learner
        batches = learner.tools.batches_of(store.dataset(experience.index, "test"), learner.evaluate_batch_size)
        found = torch.zeros(len(store.labels), store.views.width(learner.experience.index, experience.kind)).double()
        for words, logits in logits_of(self.cell.network_for(experience), batches, store):
            found[words, : logits.shape[1]] = logits.double().softmax(1).cpu()
        return found


def _labels(inputs: Sequence[Input], found: Tensor, names: Sequence[str]) -> list[Answer]:
    answers = []
    for text, of_text in zip(inputs, found.tolist(), strict=True):
        by_name = dict(zip(names, of_text, strict=True))
        label = max(by_name, key=by_name.__getitem__)
        answers.append({"text": text, "label": label, "probability": by_name[label], "probabilities": by_name})
    return answers


def _tags(inputs: Sequence[Input], found: Tensor, names: Sequence[str], texts: Tensor) -> list[Answer]:
    sure, place = found.max(1)
    place = place.where(sure > 0, names.index(OUTSIDE))
    tag_set = TagSet.of(names)
    ends, types = (tensor.tolist() for tensor in tag_set.entities(place, texts))
    answers, first = [], 0
    for words in inputs:
        end = first + len(words)
        entities = [
            {"type": tag_set.types[types[n]], "start": n - first, "end": ends[n] - first}
            for n in range(first, end)
            if ends[n]
        ]
        for entity in entities:
            entity["text"] = running(words[entity["start"] : entity["end"]])
        answers.append(
            {
                "tokens": words,
                "tags": [names[i] for i in place[first:end].tolist()],
                "probabilities": [p or None for p in sure[first:end].tolist()],
                "entities": entities,
            }
        )
        first = end
    return answers


def write_answers(answers: Iterable[Answer], out: Path | None) -> None:
    """Writes answers as JSON lines: to standard output as they come, or into a file once all are there.

    So an error leaves a file as it was, and it may be the one that the texts are read from.
    """
    lines = (json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
    try:
        if out is not None:
            write_text(out, "".join(lines))
            return
        for line in lines:
            sys.stdout.write(line)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read them has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise UserError(f"--out {out}: cannot write there: {error.strerror}") from error
