"""Strategies: one file an idea, and the table that names them. Being listed is being tested."""

from cl.strategies.agem import AGEM
from cl.strategies.cfner import CFNER
from cl.strategies.cpfd import CPFD
from cl.strategies.der import DERPlusPlus
from cl.strategies.ewc import EWC
from cl.strategies.extendner import ExtendNER
from cl.strategies.imprint import Imprint
from cl.strategies.joint import Joint
from cl.strategies.lwf import LwF
from cl.strategies.plugin import Plugin
from cl.strategies.replay import Replay
from cl.strategies.selftrain import SelfTraining

STRATEGIES: dict[str, type[Plugin]] = {
    "joint": Joint,
    "ewc": EWC,
    "lwf": LwF,
    "replay": Replay,
    "der++": DERPlusPlus,
    "agem": AGEM,
    "selftrain": SelfTraining,
    "extendner": ExtendNER,
    "cfner": CFNER,
    "cpfd": CPFD,
    "imprint": Imprint,
}
