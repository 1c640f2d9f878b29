"""Everything that needs a GPU, in eight minutes on one: tests and speed figures.

    python experiments/gpu/run.py [--dry] [--out FOLDER]

Writes `results.json` and `results.md`. `--dry` does the same in small on the CPU, and shows that all of it runs.
Libraries that are missing are named at the start: on a machine without a registry bring their wheels.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OF_TESTS = ("pytest", "pytest-timeout", "hypothesis", "accelerate")
GOALS = {"sentences": 2.0, "512 tokens": 0.4}  # × the HF Trainer; share of the peak, with the larger network


def main() -> None:
    """Runs tests, then figures; the exit code is that of the tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="small, on the CPU: does it run, not how fast")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    if lacking := missing():
        sys.exit(f"these libraries are missing, bring their wheels: {', '.join(lacking)}")
    sys.path.insert(0, str(ROOT))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic algorithms need
    os.environ["CL_GPU_DRY"] = "1" if options.dry else "0"
    import torch

    if not options.dry and not torch.cuda.is_available():
        sys.exit("there is no GPU here: give --dry (make gpu DRY=1) to try it all in small on the CPU")
    started = time.perf_counter()
    tests = subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "gpu", str(ROOT / "tests/gpu")], cwd=ROOT)
    found: dict[str, Any] = {
        "device": "cpu, dry" if options.dry else torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "lightning": version("lightning"),
        "tests": {"exit_code": tests.returncode, "seconds": time.perf_counter() - started},
        "speed": [],
    }
    import speed

    for case in speed.cases(options.dry):
        device, rounds = ("cpu", 1) if options.dry else ("gpu", 2)
        found["speed"].append(speed.measure(case, device, options.dry, rounds))
        found["seconds"] = time.perf_counter() - started
        options.out.mkdir(parents=True, exist_ok=True)  # after each, so that a run that breaks off leaves what it has
        (options.out / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (options.out / "results.md").write_text(table(found), encoding="utf-8")
    print(table(found))
    sys.exit(tests.returncode)


def missing() -> list[str]:
    """Requirements of the package and of its tests that are not installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lacking = []
    for requirement in (*project["dependencies"], *OF_TESTS):
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        try:
            version(name)
        except PackageNotFoundError:
            lacking.append(requirement)
    return lacking


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    outcome = "passed" if not found["tests"]["exit_code"] else f"ended with {found['tests']['exit_code']}"
    lines = [
        f"# On {found['device']}",
        "",
        f"torch {found['torch']}, transformers {found['transformers']}, lightning {found['lightning']}; "
        f"{found.get('seconds', 0):.0f} s in all; the tests {outcome} in {found['tests']['seconds']:.0f} s. Seconds "
        "are the best turn; the peak is that of a product of large matrices in bfloat16.",
    ]
    for result in found["speed"]:
        case, rows = result["case"], result["contenders"]
        lines += ["", f"## {case['network']}, {case['texts']}: {case['number']} texts, {result['tokens']} tokens", ""]
        lines += ["| | seconds | tokens/s | of the peak | memory, MB | cl is × as fast |", "|---|---|---|---|---|---|"]
        for name, row in rows.items():
            took = min(row["seconds"])
            times = took / min(rows["cl"]["seconds"]) if "cl" in rows else float("nan")
            lines.append(
                f"| {name} | {took:.3g} | {row['tokens_per_second']:,.0f} | {row['share_of_peak']:.1%} | "
                f"{row['peak_memory_bytes'] / 1e6:,.0f} | {times:.2f} |"
            )
        lines += [""] + [f"Left out: {name} ({why})." for name, why in result["left_out"].items()]
    lines += ["", f"Goals: {GOALS['sentences']:g} × the HF Trainer on sentences, {GOALS['512 tokens']:.0%} of the peak "
              "with the bert-base-size network at 512 tokens.", ""]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
