"""Let `python -m audiodiff` be the command `audiodiff`."""

import sys

from audiodiff.cli import main

if __name__ == "__main__":
    sys.exit(main())
