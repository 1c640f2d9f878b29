"""Sinks: what a run leaves on disk, and how people look at it. Nothing here is read back by training."""
