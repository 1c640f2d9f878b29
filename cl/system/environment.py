"""What a reader needs to run a cell again: versions, commit, hardware, seed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from cl import __version__

HERE = Path(__file__).parent
PACKAGES = ("torch", "lightning", "transformers", "avalanche-lib", "wandb", "omegaconf", "numpy")


def environment(seed: int) -> dict[str, Any]:
    """Plain values. `commit` and `changed_since_commit` are None where `cl` does not run from its own checkout."""
    commit = _git("rev-parse", "HEAD") if _git("ls-files", "--error-unmatch", Path(__file__).name) else None
    return {
        "seed": seed,
        "command": " ".join(sys.argv),
        "cl": __version__,
        "commit": commit,
        "changed_since_commit": bool(_git("status", "--porcelain", "--", ".")) if commit else None,
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _git(*arguments: str) -> str | None:
    """What git says of the folder of this package; None where there is no git, or it refuses."""
    try:
        done = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
