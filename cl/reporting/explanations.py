"""Explanations as a page, as JSON and on the console: what each part of a text did for an answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cl.reporting.pages import environment
from cl.reporting.theme import DARK, LIGHT
from cl.system.files import write_text
from cl.types import UserError


@dataclass(frozen=True)
class Explanation:
    """What the `parts` of a text did for an `answer`, of `of`, a part or several, or of the whole text ("").

    `probability`: of the answer, in [0, 1]. `effects`: by how much it falls as each part is left out, below 0 where it
    rises; None for parts that the answer is of. `after`: the experience at whose end the network stood, "" for the
    last.
    """

    answer: str
    of: str
    after: str
    probability: float
    parts: list[str]
    effects: list[float | None]


def write_explanations(found: Sequence[Explanation], folder: Path) -> Path:
    """Writes `explanation.json` and the page `explanation.html`; the page. Raises `UserError` where it cannot."""
    records = json.dumps([asdict(each) for each in found], ensure_ascii=False, indent=1)
    pages = environment()
    pages.filters["signed"] = signed
    page = pages.get_template("explanation.html.j2")
    rendered = page.render(groups=_by_answer(found), light=LIGHT.roles(), dark=DARK.roles())
    try:
        write_text(folder / "explanation.json", records + "\n")
        write_text(folder / "explanation.html", rendered)
    except OSError as error:
        raise UserError(f"{folder}: cannot write there: {error.strerror or error}") from error
    return folder / "explanation.html"


def show_explanations(found: Sequence[Explanation], console: Console) -> None:
    """A table an answer: its probability and effects in percentage points, a column a network."""
    for answer, of_networks in _by_answer(found):
        headings = [each.after and f"after {each.after}" for each in of_networks]
        table = Table("", *headings, box=None, title=answer, title_justify="left", show_header=any(headings))
        table.add_row("probability", *(f"{100 * each.probability:.1f} %" for each in of_networks))
        for number, part in enumerate(of_networks[0].parts):
            table.add_row(Text(part), *(signed(each.effects[number]) for each in of_networks))
        console.print(table)


def signed(effect: float | None) -> str:
    """An effect in percentage points: `+12.3`."""
    if effect is None:
        return ""
    points = round(100 * effect, 1)
    return f"{points:+.1f}".replace("-", "−") if points else "0.0"


def _by_answer(found: Sequence[Explanation]) -> list[tuple[str, list[Explanation]]]:
    """What is shown together: an answer, by the networks that were asked; answers in the order of the text."""
    groups: dict[str, list[Explanation]] = {}
    for each in found:
        groups.setdefault(f"{each.answer}: {each.of}" if each.of else each.answer, []).append(each)
    return list(groups.items())
