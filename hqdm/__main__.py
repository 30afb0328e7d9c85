"""The command line, as `python -m hqdm`."""

import sys

from hqdm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
