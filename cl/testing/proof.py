"""Proves a plugin: every promise on tiny streams, and on request beside other plugins and in two processes."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace

from cl.plugins import PLUGINS
from cl.plugins.base import Plugin
from cl.runs.strategies import build_strategy
from cl.system.printing import console_for, say
from cl.testing.composition import it_composes_or_is_refused
from cl.testing.promises import PROMISES, TOLERANCE, Subject, it_says_what_a_user_asks, trained
from cl.testing.ranks import Spec, on_two_ranks
from cl.testing.tiny import assert_same

IN_TWO_PROCESSES = "two_ranks_are_one"


def prove(plugin: str | type[Plugin], *, pairs: bool = False, ranks: bool = False, **options: object) -> None:
    """Proves a plugin with these options on tiny streams, in about 20 seconds, and prints what it keeps.

    `plugin`: a class at the top of a module, or its dotted path. `pairs`: beside a listed plugin of each kind too, a
    minute. `ranks`: in two processes too, half a minute (its module must be importable there). Raises `UserError` for a
    plugin that cannot be made with these options, and `AssertionError` naming each promise that is broken, the stream,
    and how.
    """
    name = plugin if isinstance(plugin, str) else f"{plugin.__module__}.{plugin.__qualname__}"
    build_strategy({name: options}, "proven")  # what cannot be made breaks no promise: said once
    subject, console, started = Subject(name, options), console_for(), time.monotonic()
    left_out = set() if pairs else {it_composes_or_is_refused}
    left_out |= set() if name in PLUGINS else {it_says_what_a_user_asks}  # a private plugin may say what it likes
    chosen = {each: streams for each, (promise, streams) in PROMISES.items() if promise not in left_out}
    broken: list[str] = []
    for promise, streams in chosen.items():
        found = [f"{promise} ({stream}): {why}" for stream in streams if (why := _why(promise, subject, stream))]
        say(console, f"{'BROKEN' if found else 'kept'}: {promise} ({', '.join(streams)})", "red" if found else "")
        broken += found
    if ranks:
        found = prove_on_ranks([subject])
        say(console, f"{'BROKEN' if found else 'kept'}: {IN_TWO_PROCESSES}", "red" if found else "")
        broken += found
    assert not broken, f"{name} breaks {len(broken)} promises:\n" + "\n".join(broken)
    ways = (("beside other plugins (pairs=True)", pairs), ("in two processes (ranks=True)", ranks))
    untried = [text for text, tried in ways if not tried]
    said = f"{name} keeps {len(chosen) + ranks} promises, proven in {time.monotonic() - started:.0f} s"
    say(console, said + (f". Not tried: {', '.join(untried)}" if untried else ""))


# As short as shows each thing once: something old of each kind, accumulation, dropout.
ON_RANKS = (
    Spec("token", {}, num_experiences=2),
    Spec("own", {}, num_experiences=3, accumulate=2),
    Spec("mixed", {}, num_experiences=2, dropout=0.2),
)


def prove_on_ranks(subjects: list[Subject]) -> list[str]:
    """Trains each in two processes, on every stream, and says what differs from one process or between the two."""
    of = [subject for subject in subjects for _ in ON_RANKS]
    specs = [
        replace(spec, plugins=subject.strategy(), backbone=subject.backbone, adapter=subject.adapter)
        for subject in subjects
        for spec in ON_RANKS
    ]
    broken = []
    for subject, spec, first, second in zip(of, specs, *on_two_ranks(specs), strict=True):
        where = f"two ranks ({next(iter(spec.plugins))}, {spec.stream}, accumulation {spec.accumulate})"
        try:
            assert_same(first, second)
            if not spec.dropout:  # with dropout two ranks draw other masks than one, and must still agree
                alone = trained(json.dumps(asdict(subject)), spec.stream, spec.num_experiences, spec.max_epochs)
                assert_same({"weights": alone.weights, "plugins": alone.plugins}, first["end"], TOLERANCE)
                assert alone.rows == first["rows"], "the scores differ"
        except AssertionError as error:
            broken.append(f"{where}: {error}")
    return broken


def _why(promise: str, subject: Subject, stream: str) -> str:
    try:
        PROMISES[promise][0](subject, stream)
    except AssertionError as error:
        return str(error) or "an assertion failed"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
