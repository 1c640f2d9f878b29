"""Weights & Biases: the one door to wandb."""

from cl.reporting.wandb.opening import About, open_logger
from cl.reporting.wandb.sink import WandbSink

__all__ = ["About", "WandbSink", "open_logger"]
