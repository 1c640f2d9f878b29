"""`cl`: continual learning for language."""

from cl.system.threads import share_cores

__version__ = "0.1.0"

share_cores()  # before anything loads torch
