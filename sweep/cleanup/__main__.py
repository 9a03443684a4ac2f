"""The command: `python -m sweep.cleanup`."""

import sys

from sweep.cleanup.command import main

sys.exit(main())
