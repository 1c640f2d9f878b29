"""Proof that a plugin keeps its promises: the suite that every listed strategy passes, for plugins of anyone.

from cl.testing import prove

def test_anchor():
    prove("anchor.L2Anchor", strength=0.3, pairs=True, ranks=True)
"""

from cl.testing.promises import PROMISES, Subject
from cl.testing.proof import prove

__all__ = ["PROMISES", "Subject", "prove"]
