"""`python -m hybridnas`, which torchrun needs: the command line."""

from .cli import main

main()
