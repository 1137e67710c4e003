"""`python -m sysgym_zoo.cli` is the same as `sysgym`."""

from sysgym_zoo.cli import main

main()
