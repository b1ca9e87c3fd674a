"""python -m reslab"""

from reslab.cli.main import main

main()
