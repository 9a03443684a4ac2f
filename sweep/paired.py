"""Which cells differ by more than chance: python -m sweep.paired."""

import sys

from sweep.results.paired import main

if __name__ == "__main__":
    sys.exit(main())
