"""An explanation is what it says: each part is left out, and the answer's probability is told again."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rich.console import Console

import cl.runs.grid
from cl.config import RunConfig
from cl.reporting.explanations import Explanation, show_explanations, signed, write_explanations
from cl.runs.explain import MOST, explain, parts_of
from cl.runs.grid import run
from cl.runs.predict import Predictor
from cl.runs.streams import build_stream
from cl.testing.tiny import tiny_config
from cl.types import UserError


def trained(folder: Path, keep: Any) -> Path:
    config = tiny_config("mixed", run=RunConfig(dir=str(folder), keep=keep), seeds=[0])
    config.trainer["max_epochs"] = 8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cl.runs.grid, "write_report", lambda cells, folder: folder / "report.html")
        run(config)
    return folder / "finetune/seed0"


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "all", "all")


@pytest.fixture(scope="module")
def stream() -> Any:
    return build_stream(tiny_config("mixed").stream)


def sentence_with(cell: Path, stream: Any, after: str) -> list[str]:
    """A sentence of words in which an entity is found that is not its first word."""
    predictor = Predictor(cell, kind="token", after=after)
    sentences = [sample["tokens"] for e in stream for sample in e.test if e.kind == "token"]
    for answer in predictor(sentences):
        if any(entity["start"] > 0 for entity in answer["entities"]):
            return list(answer["tokens"])
    raise AssertionError("no entity is found anywhere: train longer")


def test_an_effect_on_a_text_is_what_its_label_loses(cell: Path, stream: Any) -> None:
    text = next(sample["text"] for e in stream for sample in e.test if e.kind == "sequence")
    (found,) = explain(cell, text, kind="sequence")
    predictor, words = Predictor(cell, kind="sequence"), text.split()
    (whole,) = predictor([text])
    assert (found.answer, found.of, found.parts) == (whole["label"], "", words)
    assert found.probability == pytest.approx(whole["probability"], abs=1e-9)
    rest = predictor([" ".join(words[:n] + words[n + 1 :]) for n in range(len(words))])
    expected = [whole["probability"] - answer["probabilities"][whole["label"]] for answer in rest]
    assert found.effects == pytest.approx(expected, abs=1e-9)
    assert max(map(abs, expected)) > 0.01


def test_an_effect_on_an_entity_is_what_its_own_words_lose(cell: Path, stream: Any) -> None:
    last = stream.experiences[-1].name
    words = sentence_with(cell, stream, last)
    predictor = Predictor(cell, kind="token")
    (whole,) = predictor([words])
    found = explain(cell, " ".join(words), kind="token")
    assert [(each.answer, each.of) for each in found] == [(e["type"], e["text"]) for e in whole["entities"]]
    (entity, each) = next((e, f) for e, f in zip(whole["entities"], found, strict=True) if e["start"] > 0)
    start, end = entity["start"], entity["end"]
    assert [n for n, effect in enumerate(each.effects) if effect is None] == list(range(start, end))
    for n in (0, *range(end, len(words))):
        rest = words[:n] + words[n + 1 :]
        rows, names, _, _ = predictor.probabilities("token", [rest])
        probability = 1.0
        for place, tag in zip(range(start, end), whole["tags"][start:end], strict=True):
            probability *= float(rows[place - (n < start), list(names).index(tag)])
        assert each.effects[n] == pytest.approx(each.probability - probability, abs=1e-9)


def test_the_answer_of_the_first_network_is_followed_through_later_ones(cell: Path, stream: Any) -> None:
    names = [e.name for e in stream if e.kind == "sequence"]
    texts = [sample["text"] for e in stream for sample in e.test if e.kind == "sequence"]
    first, last = (
        [a["label"] for a in Predictor(cell, kind="sequence", after=n)(texts)] for n in (names[0], names[-1])
    )
    text = next(text for text, a, b in zip(texts, first, last, strict=True) if a != b)  # the later one says otherwise
    found = explain(cell, text, after=names, kind="sequence")
    assert [each.after for each in found] == names
    assert len({each.answer for each in found}) == 1
    for each in found:
        (said,) = Predictor(cell, kind="sequence", after=each.after)([text])
        assert each.probability == pytest.approx(said["probabilities"][each.answer], abs=1e-9)
    assert found[0].probability != pytest.approx(found[-1].probability, abs=1e-3)


def test_a_network_after_the_last_experience_is_the_one_that_ended(cell: Path, stream: Any) -> None:
    text = next(sample["text"] for sample in stream.experiences[0].test)
    (ended,), (after,) = (explain(cell, text, names, kind="sequence") for names in ((), (stream.experiences[-1].name,)))
    assert (ended.probability, ended.effects) == (after.probability, after.effects)


def test_what_cannot_be_explained_is_refused(cell: Path, stream: Any, tmp_path: Path) -> None:
    first = stream.experiences[0].name
    with pytest.raises(UserError, match=r"the text is blank"):
        explain(cell, " ", kind="sequence")
    with pytest.raises(UserError, match=r"say which, with --kind"):
        explain(cell, "x")
    with pytest.raises(UserError, match=r"--after nowhere: .* no experience of this name"):
        explain(cell, "x", ["nowhere"], kind="sequence")
    with pytest.raises(UserError, match=r"has learnt the kind sequence alone"):
        explain(cell, "x", [first], kind="token")
    with pytest.raises(UserError, match=r"no entity is found"):
        explain(cell, "x", kind="token")
    final = trained(tmp_path / "final", "final")
    with pytest.raises(UserError, match=r"no checkpoint of the end of .*: train it with run\.keep=all"):
        explain(final, "x", [first], kind="sequence")


def test_a_text_that_is_cut_off_is_told(cell: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What stands after the cut has no effect, and nobody should take that for an answer."""
    (found,) = explain(cell, " ".join(["so"] * 200), kind="sequence")
    assert found.effects[-1] == pytest.approx(0, abs=1e-12)
    assert "1 of 1 texts are cut off at network.max_length" in caplog.text


def test_parts_are_words_or_characters_where_a_script_has_no_spaces() -> None:
    def parts(text: str, kind: Any = "sequence") -> list[str]:
        return [text[first:last] for first, last in parts_of(text, kind)]

    assert parts("so  good,  really") == ["so", "good,", "really"]
    assert parts("很好吃 ok") == ["很", "好", "吃", "ok"]
    assert parts("很好 吃", "token") == ["很好", "吃"]
    long = " ".join(f"w{n}" for n in range(1000))
    assert len(parts(long)) == MOST
    assert " ".join(parts(long)) == long


MARKUP = Explanation("<b>bad</b>", "", "<i>", 0.5, ["<script>alert(1)</script>", "&amp;", "x"], [0.25, -0.125, None])


def test_a_page_escapes_and_says_all(tmp_path: Path) -> None:
    class Shown(HTMLParser):
        texts: ClassVar[list[str]] = []
        tags: ClassVar[set[str]] = set()

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.tags.add(tag)

        def handle_data(self, data: str) -> None:
            self.texts.append(data.strip())

    page = write_explanations([MARKUP], tmp_path / "new" / "out")
    shown = Shown()
    shown.feed(page.read_text(encoding="utf-8"))
    assert not {"script", "b", "i"} & shown.tags
    assert {*MARKUP.parts, MARKUP.answer, "After <i>: probability 50.0 %"} <= set(shown.texts)
    assert 'title="+25.0 points"' in page.read_text() and 'title="−12.5 points"' in page.read_text()
    (record,) = json.loads((page.parent / "explanation.json").read_text(encoding="utf-8"))
    assert Explanation(**record) == MARKUP
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write there"):
        write_explanations([MARKUP], tmp_path / "file" / "out")


def test_the_console_shows_networks_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    later = Explanation("good", "", "dvd", 0.25, ["so", "fine"], [0.1, -0.0001])
    show_explanations([Explanation("good", "", "books", 0.75, ["so", "fine"], [0.5, None]), later], Console(width=99))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["after", "books", "after", "dvd"] in lines
    assert ["probability", "75.0", "%", "25.0", "%"] in lines
    assert ["so", "+50.0", "+10.0"] in lines and ["fine", "0.0"] in lines
    assert signed(-0.3) == "−30.0"
