"""Entry point of `python -m reslab`."""

from reslab.cli.main import main

main()
