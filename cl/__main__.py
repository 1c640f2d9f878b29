"""`python -m cl`."""

from cl.cli import main

main()
