"""Makes the small wrong changes of `mutants.yaml`, one at a time, and looks whether a test notices.

Each worker has a copy of `cl` and `tests` of its own, so the working tree is never touched. Workers are forked from a
process that has imported the libraries (never `cl` itself), which saves most of the start of each run.

    python tests/mutants/run.py [--workers 2] [name …]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from compileall import compile_dir
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode
from queue import Queue
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("mutants.yaml")
COPIED = ("cl", "tests", "configs")
LIBRARIES = [
    *("pytest", "pytest_timeout", "hypothesis", "omegaconf", "rich.progress", "filelock", "typer", "wandb"),
    *("torch", "lightning.pytorch", "transformers.models.bert.modeling_bert", "avalanche.benchmarks"),
    *("scipy.optimize", "matplotlib.figure"),
]
PLUGINS = ["-p", "no:cacheprovider", "-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin"]
LEAST_CAUGHT = 0.95
TIMEOUT = 240.0  # seconds for the tests of one mutant; for all tests on the right code ten times as many
PROCESSES: Any = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Mutant:
    """A wrong change: `old`, which stands in `file` once, becomes `new`. `means`: what is wrong with it then.

    `tests`: the files or node ids of tests, relative to `tests`, of which at least one fails.
    """

    name: str
    file: str
    old: str
    new: str
    means: str
    tests: tuple[str, ...]

    def apply(self, text: str) -> str:
        """The wrong text. Raises ValueError where `old` does not stand in it exactly once."""
        if (found := text.count(self.old)) != 1:
            raise ValueError(
                f"{self.name}: {self.old!r} stands {found} times in {self.file}, not once: mend {LIST.name}"
            )
        return text.replace(self.old, self.new)


def mutants() -> list[Mutant]:
    """The list, in its order."""
    entries = yaml.safe_load(LIST.read_text(encoding="utf-8"))
    return [Mutant(**(entry | {"tests": tuple(entry["tests"])})) for entry in entries]


def copy_to(folder: Path) -> None:
    """What the tests need. Compiled files are known by content: a mutant may be as long as the original and as old."""
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    compile_dir(folder / "cl", quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)


def run_tests(folder: Path, tests: Iterable[str], timeout: float = TIMEOUT) -> tuple[str, str]:
    """What became of tests in a copy, `passed`, `failed`, `broken` (none could run) or `timeout`; and their output."""
    said = folder / "output.txt"
    process = PROCESSES.Process(target=_pytest, args=(folder, [f"tests/{test}" for test in tests], said))
    process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
        return "timeout", said.read_text()
    return {0: "passed", 1: "failed"}.get(process.exitcode, "broken"), said.read_text(errors="replace")


def _pytest(folder: Path, tests: list[str], said: Path) -> None:
    """In a process of its own: pytest on a copy, its output in a file."""
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(folder)
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    os.environ |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    import pytest

    os._exit(int(pytest.main(["-x", "-q", *PLUGINS, "-m", "not slow", *tests])))


def judged(chosen: list[Mutant], num_workers: int) -> Iterator[tuple[Mutant, str, float, str]]:
    """Each mutant with what became of its tests, the seconds they took and what they said."""
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(num_workers) as pool:
        free: Queue[Path] = Queue()
        for worker in range(num_workers):
            copy_to(Path(place) / str(worker))
            free.put(Path(place) / str(worker))

        def judge(mutant: Mutant) -> tuple[Mutant, str, float, str]:
            folder = free.get()
            path, start = folder / mutant.file, time.monotonic()
            right = path.read_text(encoding="utf-8")
            path.write_text(mutant.apply(right), encoding="utf-8")
            try:
                outcome, said = run_tests(folder, mutant.tests)
            finally:
                path.write_text(right, encoding="utf-8")
                free.put(folder)
            return mutant, outcome, time.monotonic() - start, said

        yield from pool.map(judge, chosen)


def pass_without_mutants(chosen: list[Mutant]) -> bool:
    """Whether all these tests pass on the right code: else a failure would say nothing."""
    with tempfile.TemporaryDirectory() as place:
        copy_to(Path(place))
        outcome, said = run_tests(Path(place), _all_tests(chosen), 10 * TIMEOUT)
    if outcome != "passed":
        print(said[-4000:], f"\nThe tests do not pass on the code as it is: {outcome}.", sep="")
    return outcome == "passed"


def _all_tests(chosen: list[Mutant]) -> list[str]:
    """Each test file or node id once; no node id whose whole file is there."""
    every = dict.fromkeys(test for mutant in chosen for test in mutant.tests)
    return [test for test in every if test == (file := test.partition("::")[0]) or file not in every]


def main() -> int:
    """Prints a line a mutant and the share of those caught; 1 where it is below `LEAST_CAUGHT`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only these mutants (default: all)")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    asked = parser.parse_args()
    every = {mutant.name: mutant for mutant in mutants()}
    if unknown := set(asked.names) - every.keys():
        parser.error(f"{LIST.name} has no {', '.join(sorted(unknown))}")
    chosen = [every[name] for name in asked.names or every]
    for mutant in chosen:  # before anything runs
        mutant.apply((ROOT / mutant.file).read_text(encoding="utf-8"))
    os.environ |= {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1"}
    PROCESSES.set_forkserver_preload(LIBRARIES)
    if not pass_without_mutants(chosen):
        return 1
    num_caught = 0
    for mutant, outcome, seconds, said in judged(chosen, asked.workers):
        caught = outcome == "failed"
        num_caught += caught
        by = next((line.split()[1] for line in said.splitlines() if line.startswith("FAILED")), "") if caught else ""
        word = "caught" if caught else {"passed": "SURVIVED"}.get(outcome, outcome.upper())
        print(f"{word:9} {seconds:5.1f} s  {mutant.name:24} {mutant.means}" + f"  [{by}]" * bool(by), flush=True)
        if outcome in ("broken", "timeout"):
            print(said[-1500:])
    print(f"{num_caught} of {len(chosen)} caught ({num_caught / max(1, len(chosen)):.1%})")
    return int(num_caught < LEAST_CAUGHT * len(chosen))


if __name__ == "__main__":
    sys.exit(main())
