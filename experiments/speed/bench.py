"""Ratios of speed, side by side in one run.

python experiments/speed/bench.py --backbone PATH --data PATH --out results.json
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import warnings
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from texts import Absent, Bench
from timing import Report
from transformers.utils import logging as transformers_logging

from cl.system.environment import environment

SECTIONS = {
    "start": "start",
    "step": "step",
    "decoder": "decoder",
    "overhead": "overhead",
    "plugins": "plugins",
    "evaluation": "evaluation",
    "experience": "experience",
    "scaling": "scaling",
    "run": "whole_run",
    "together": "together",
}


def main() -> None:
    """Runs the sections that are asked for, and writes what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--backbone",
        required=True,
        help="a local folder or hub id of a BERT-like encoder, or of a decoder",
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("CL_DATA"), help="data folder (default: CL_DATA)")
    parser.add_argument("--section", action="append", choices=SECTIONS, help="one or several (default: all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="32-true", choices=("32-true", "bf16-mixed"))
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run, not how fast")
    parser.add_argument("--out", type=Path, help="a JSON file for everything that was measured")
    options = parser.parse_args()
    _quiet()
    bench = Bench(
        options.backbone, options.data and Path(options.data), options.rounds, options.precision, options.quick
    )
    report = Report()
    for section in options.section or SECTIONS:
        report.begin(section)
        try:
            import_module(SECTIONS[section]).run(bench, report)
        except Absent as absent:
            report.skip(section, str(absent))
        if options.out:  # after each, so that a long run that breaks off leaves what it has
            options.out.parent.mkdir(parents=True, exist_ok=True)
            found = {"environment": _environment(options), "sections": report.sections}
            options.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _environment(options: argparse.Namespace) -> dict[str, Any]:
    models = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    asked = {key: value for key, value in vars(options).items() if key in ("rounds", "precision", "quick")}
    found = environment(0) | asked | {"cpu": models[0].split(":", 1)[1].strip() if models else platform.processor()}
    try:
        found["accelerate"] = version("accelerate")
    except PackageNotFoundError:
        found["accelerate"] = None
    del found["seed"], found["command"]  # the command holds paths of this machine
    return found | {"cpu_capability": torch.backends.cpu.get_cpu_capability()}


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if os.path.exists(path) else []


def _quiet() -> None:
    warnings.showwarning = lambda *_, **__: None  # Avalanche switches filters on again
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.ERROR)


if __name__ == "__main__":
    main()
