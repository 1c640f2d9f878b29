"""Whether the ratios of a run of `bench.py` are where they were: python experiments/speed/check.py results.json

Floors for float32, with room for the noise of a quick run; goals are in the tables and in the README. Ends with 1 where
one is broken.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

LEAST = {
    ("step", "token: cl / same batches"): 0.9,
    ("step", "sequence: cl / same batches"): 0.9,
    ("step", "token: cl / padded"): 4.0,
    ("step", "sequence: cl / padded"): 4.0,
    ("step", "token: cl / dynamic"): 1.3,
    ("step", "sequence: cl / dynamic"): 1.2,
    ("evaluation", "sentences: cl / padded"): 4.0,
    ("evaluation", "reviews: cl / padded"): 1.1,
    ("run", "sentences: cl / Avalanche"): 3.0,
    ("run", "sentences: cl / by hand"): 1.0,
}
MOST = {
    ("start", "milliseconds of help"): 200.0,
    ("start", "first batch / imports"): 1.2,
    ("overhead", "milliseconds added to a step"): 1.5,
    ("overhead", "token: data path, % of a step"): 1.0,
    ("overhead", "sequence: data path, % of a step"): 1.0,
    ("experience", "seconds of cl"): 0.1,
    ("scaling", "cl ewc after the most"): 1.25,
    **{("plugins", f"{kind}: ewc, step"): 1.25 for kind in ("token", "sequence")},
    **{("plugins", f"{kind}: si, step"): 1.5 for kind in ("token", "sequence")},
    **{("plugins", f"{kind}: ewc, upkeep"): 1.8 for kind in ("token", "sequence")},
    **{("plugins", f"{kind}: replay, token"): 1.25 for kind in ("token", "sequence")},
}


def main(path: str) -> int:
    """Prints a line for each ratio that was measured; how many are broken, and 1 where none was measured."""
    sections = json.loads(Path(path).read_text(encoding="utf-8"))["sections"]
    broken = measured = 0
    for bounds, sign in ((LEAST, "≥"), (MOST, "≤")):
        for (section, name), bound in bounds.items():
            ratio = sections.get(section, {}).get("ratios", {}).get(name)
            if ratio is None:
                print(f"not measured  {section}: {name}")
                continue
            holds = ratio["median"] >= bound if sign == "≥" else ratio["median"] <= bound
            print(f"{'ok    ' if holds else 'BROKEN'}  {section}: {name}: {ratio['median']:.3f} {sign} {bound}")
            broken, measured = broken + (not holds), measured + 1
    print(f"{broken} of {measured} are broken" if measured else f"{path} holds none of these ratios")
    return broken if measured else 1


if __name__ == "__main__":
    sys.exit(min(1, main(*sys.argv[1:])))
