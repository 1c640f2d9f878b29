"""Prints the oldest versions that `pyproject.toml` allows of what `cl` needs, as constraints for pip."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[1] / "pyproject.toml"

for line in tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]:
    requirement = Requirement(line)
    (bound,) = (each.version for each in requirement.specifier if each.operator == ">=")
    print(f"{requirement.name}=={bound}")
