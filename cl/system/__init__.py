"""The machine: signals, ranks, memory, threads, files."""
