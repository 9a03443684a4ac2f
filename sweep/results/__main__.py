"""The command: `python -m sweep.results docs/results`."""

import sys

from sweep.results.pages import main

sys.exit(main())
