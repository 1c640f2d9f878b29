"""Strategies: one file an idea, and the table that names them. Being listed is being tested."""

from cl.strategies.agem import AGEM
from cl.strategies.cfner import CFNER
from cl.strategies.cpfd import CPFD
from cl.strategies.der import DER, DERPlusPlus
from cl.strategies.er_ace import ERACE
from cl.strategies.ewc import EWC
from cl.strategies.extendner import ExtendNER
from cl.strategies.featdistill import FeatureDistillation
from cl.strategies.fgm import FGM
from cl.strategies.gdumb import GDumb
from cl.strategies.gem import GEM
from cl.strategies.imprint import Imprint
from cl.strategies.independent import Independent
from cl.strategies.joint import Joint
from cl.strategies.l2 import L2
from cl.strategies.lwf import LwF
from cl.strategies.mas import MAS
from cl.strategies.plugin import Plugin
from cl.strategies.probe import Probe
from cl.strategies.replay import Replay
from cl.strategies.selftrain import SelfTraining
from cl.strategies.seq import SeqStar
from cl.strategies.si import SI

STRATEGIES: dict[str, type[Plugin]] = {
    "joint": Joint,
    "independent": Independent,
    "probe": Probe,
    "seq*": SeqStar,
    "l2": L2,
    "ewc": EWC,
    "si": SI,
    "mas": MAS,
    "replay": Replay,
    "der": DER,
    "der++": DERPlusPlus,
    "er-ace": ERACE,
    "agem": AGEM,
    "gem": GEM,
    "gdumb": GDumb,
    "lwf": LwF,
    "featdistill": FeatureDistillation,
    "selftrain": SelfTraining,
    "extendner": ExtendNER,
    "cfner": CFNER,
    "cpfd": CPFD,
    "imprint": Imprint,
    "fgm": FGM,
}
