"""Runs: from a configuration to cells on disk, and what is asked of them."""
