"""Prompts: a template around each text, whose tokens no cut takes away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PLACE = "{text}"


@dataclass(frozen=True)
class Template:
    """What stands before and after a text."""

    before: str
    after: str

    @classmethod
    def of(cls, template: str) -> Template:
        """Of a template with one `{text}`; an empty one is the text alone."""
        before, _, after = template.partition(PLACE)
        return cls(before, after)

    def around(self, text: str) -> str:
        """The text within it."""
        return f"{self.before}{text}{self.after}"

    def owns(self, text: str, encoding: Any) -> list[int]:
        """1 for each token of `around(text)` that is special or the template's own, 0 for those of the text.

        A token that begins with the template's last space is the text's; one that ends with something of the
        template's is the template's.
        """
        start, end = len(self.before), len(self.before) + len(text)
        return [
            int(special or not (last > start and last <= end))
            for special, (_, last) in zip(encoding.special_tokens_mask, encoding.offsets, strict=True)
        ]
