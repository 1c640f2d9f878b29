"""Pages: their templates, escaped."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cl.reporting.cells import plain

TEMPLATES = Path(__file__).parent / "templates"


def environment() -> Environment:
    """What renders a template; a name that it does not find is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"plain": plain, "zip": zip}
    return made
