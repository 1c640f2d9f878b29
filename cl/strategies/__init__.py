"""Strategies: one file an idea, and the table that names them. Being listed is being tested."""

from cl.strategies.agem import AGEM
from cl.strategies.der import DERPlusPlus
from cl.strategies.ewc import EWC
from cl.strategies.independent import Independent
from cl.strategies.joint import Joint
from cl.strategies.lwf import LwF
from cl.strategies.plugin import Plugin
from cl.strategies.probe import Probe
from cl.strategies.replay import Replay
from cl.strategies.seq import SeqStar

STRATEGIES: dict[str, type[Plugin]] = {
    "joint": Joint,
    "independent": Independent,
    "probe": Probe,
    "seq*": SeqStar,
    "ewc": EWC,
    "replay": Replay,
    "der++": DERPlusPlus,
    "agem": AGEM,
    "lwf": LwF,
}
