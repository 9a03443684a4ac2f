"""The command: `python -m sweep.results docs/results.md`."""

import sys

from sweep.results import main

sys.exit(main())
