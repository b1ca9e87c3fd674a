"""python -m reslab"""

from .cli.main import main

main()
