"""Strategies: one file an idea, and the table that names them. Being listed is being tested."""

from cl.plugins.agem import AGEM
from cl.plugins.base import Plugin
from cl.plugins.cfner import CFNER
from cl.plugins.cpfd import CPFD
from cl.plugins.der import DER, DERPlusPlus
from cl.plugins.er_ace import ERACE
from cl.plugins.ewc import EWC
from cl.plugins.extendner import ExtendNER
from cl.plugins.featdistill import FeatureDistillation
from cl.plugins.fgm import FGM
from cl.plugins.gdumb import GDumb
from cl.plugins.gem import GEM
from cl.plugins.imprint import Imprint
from cl.plugins.inc_lora import IncLoRA
from cl.plugins.independent import Independent
from cl.plugins.joint import Joint
from cl.plugins.l2 import L2
from cl.plugins.lwf import LwF
from cl.plugins.mas import MAS
from cl.plugins.o_lora import OLoRA
from cl.plugins.probe import Probe
from cl.plugins.replay import Replay
from cl.plugins.selftrain import SelfTraining
from cl.plugins.seq import SeqStar
from cl.plugins.si import SI

PLUGINS: dict[str, type[Plugin]] = {
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
    "inc-lora": IncLoRA,
    "o-lora": OLoRA,
}
