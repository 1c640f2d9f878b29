"""The configuration: its schema, and how YAML files and overrides become one."""

from cl.config.load import completed, load
from cl.config.options import instantiate, locate
from cl.config.schema import (
    Config,
    EvaluateConfig,
    NetworkConfig,
    PromptConfig,
    RunConfig,
    StreamConfig,
    ToyConfig,
    WandbConfig,
    to_yaml,
)

__all__ = [
    "Config",
    "EvaluateConfig",
    "NetworkConfig",
    "PromptConfig",
    "RunConfig",
    "StreamConfig",
    "ToyConfig",
    "WandbConfig",
    "completed",
    "instantiate",
    "load",
    "locate",
    "to_yaml",
]
