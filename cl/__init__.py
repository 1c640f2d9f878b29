"""`cl`: continual learning for language."""

__version__ = "0.1.0"
