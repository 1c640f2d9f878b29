"""What a name in a configuration stands for: a dotted path, the options of a dataclass."""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import MISSING, field, fields, make_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from cl.system.words import did_you_mean, one_of
from cl.types import UserError

T = TypeVar("T")


def instantiate(cls: type[T], options: dict[str, Any] | None, where: str) -> T:
    """A dataclass from options, each checked by its field; `where` names the place in errors."""
    hints = get_type_hints(cls)
    known = {f.name: f for f in fields(cls) if f.init}  # type: ignore[arg-type]
    options = options or {}
    for key in options:
        if key not in known:
            raise UserError(f"{where}: there is no option {key!r}.{one_of(str(key), known)}")
    for name, f in known.items():
        if f.default is MISSING and f.default_factory is MISSING and name not in options:
            raise UserError(f"{where}: the option {name!r} is missing")
    schema = make_dataclass(
        cls.__name__,
        [(n, hints[n], field(default=f.default, default_factory=f.default_factory)) for n, f in known.items()],
    )
    try:
        values = OmegaConf.to_container(OmegaConf.merge(OmegaConf.structured(schema), options), resolve=True)
    except (OmegaConfBaseException, TypeError) as error:
        place = ".".join(filter(None, (where, getattr(error, "full_key", None))))
        raise UserError(f"{place}: {reason(error)}") from error
    try:
        return cls(**values)  # type: ignore[arg-type]
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def locate(path: str, where: str) -> Any:
    """What a dotted path names: `package.module.Name`; the current folder counts as on PYTHONPATH, at its end.

    A file that happens to lie there takes no other module's place.
    """
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    module, _, name = path.rpartition(".")
    try:
        found = importlib.import_module(module)
    except (ImportError, AttributeError, SyntaxError, ValueError) as error:
        raise UserError(
            f"{where}: cannot import {path!r}: {error}. Start cl in the folder of its file, or add that folder to "
            "PYTHONPATH"
        ) from error
    if not hasattr(found, name):
        hint = did_you_mean(name, [each for each in vars(found) if not each.startswith("_")])
        raise UserError(f"{where}: cannot import {path!r}: the module {module} has nothing of that name.{hint}")
    return getattr(found, name)


WANTED = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false", "String": "a text"}


def reason(error: Exception) -> str:
    """What OmegaConf complains of, in a line."""
    first = str(getattr(error, "msg", None) or error).splitlines()[0].removeprefix("Merge error: ")
    if found := re.match(r"Value '(.*)' of type '\w+' could not be converted to (\w+)", first):
        return f"is {found[1]!r}: give {WANTED.get(found[2], found[2])}"
    if found := re.match(r"Cannot assign (\w+) to Dict", first):
        return "write a mapping here, {key: value}"
    if found := re.match(r"Invalid value '(.*)', expected one of \[(.*)\]", first):
        choices = found[2].replace("'", "")
        return f"is {found[1]!r}: give one of {choices}"
    if re.match(r"field '.*' is not Optional", first):
        empty = "{} is an empty mapping, [] an empty list, '' an empty text"
        return f"is null, and must have a value: leave it out for its default; {empty}"
    return first + ". Set it, or give a value in its place" * isinstance(error, InterpolationResolutionError)
