"""Adapters: small parameters that train in a backbone whose own are frozen. The one door to peft."""

from cl.models.adapters.adapted import adapted
from cl.models.adapters.earlier import Earlier, begin_anew, earlier_bytes, layers_with_earlier
from cl.models.adapters.exporting import export_adapter, merged
from cl.models.adapters.kinds import KINDS
from cl.models.adapters.options import Adapter, read

__all__ = [
    "KINDS",
    "Adapter",
    "Earlier",
    "adapted",
    "begin_anew",
    "earlier_bytes",
    "export_adapter",
    "layers_with_earlier",
    "merged",
    "read",
]
