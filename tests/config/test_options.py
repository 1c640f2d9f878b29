"""Options of dataclasses, each checked by its field, and dotted paths."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from cl.config import instantiate, locate
from cl.types import UserError


@dataclass
class Idea:
    paper: ClassVar[str] = "none"
    size: int
    strength: float = 1.0
    mode: Literal["soft", "hard"] = "soft"
    names: dict[Any, str] = field(default_factory=dict)
    state: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        if self.strength < 0:
            raise ValueError("strength is negative")


def test_options_are_converted_to_the_types_of_the_fields() -> None:
    assert instantiate(Idea, {"size": "3", "strength": "1e-3", "names": {0: "x"}}, "here") == Idea(
        3, 1e-3, names={0: "x"}
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strenght": 1}, "here: there is no option 'strenght'. Did you mean 'strength'?"),
        ({"state": 1}, "here: there is no option 'state'."),
        (None, "here: the option 'size' is missing"),
        ({"size": "many"}, "here.size: is 'many': give a whole number"),
        ({"size": 1, "mode": "other"}, "here.mode: is 'other': give one of"),
        ({"size": 1, "names": ["x"]}, "here"),
        ({"size": 1, "strength": -1}, "here: strength is negative"),
    ],
)
def test_wrong_options(options: dict[str, Any] | None, message: str) -> None:
    with pytest.raises(UserError) as caught:
        instantiate(Idea, options, "here")
    assert str(caught.value).startswith(message)


def test_dotted_paths_start_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_located.py").write_text("VALUE = 3\n")
    (tmp_path / "my_broken.py").write_text("def (\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    assert locate("my_located.VALUE", "here") == 3
    for path in ("my_located.NOTHING", "my_missing.X", "my_broken.X", ".X"):
        with pytest.raises(UserError, match=rf"here: cannot import '{path}'"):
            locate(path, "here")
