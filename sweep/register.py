"""Register the GoodNet of a run or of a sweep's pick: python -m sweep.register RUN NAME."""

import sys

from sweep.registry.command import main

if __name__ == "__main__":
    sys.exit(main())
