"""Names in any script, in figures whose fonts have some of them."""

from __future__ import annotations

import unicodedata
from functools import cache

from anyascii import anyascii
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager, get_font
from matplotlib.text import Text

from cl.reporting.theme import FONTS

RIGHT_TO_LEFT = {"R", "AL"}  # their letters would stand apart, in the wrong order


def romanise(figure: Figure) -> bool:
    """Writes in Latin letters what the fonts of figures have not; whether there was any."""
    changed = False
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        before = text.get_text()
        text.set_text(in_latin(before))
        changed |= text.get_text() != before
    return changed


def in_latin(text: str) -> str:
    """`text`, letters that cannot be drawn in Latin ones as `anyascii` writes them: `名前` becomes `MingQian`."""
    return "".join(letter if _is_drawn(letter) else anyascii(letter) for letter in text)


def _is_drawn(letter: str) -> bool:
    return unicodedata.bidirectional(letter) not in RIGHT_TO_LEFT and ord(letter) in _letters()


@cache
def _letters() -> frozenset[int]:
    """All that the installed ones of our fonts have."""
    installed = set(fontManager.get_font_names())
    files = [fontManager.findfont(FontProperties(family=[font])) for font in FONTS if font in installed]
    return frozenset(code for file in files for code in get_font(file).get_charmap())
