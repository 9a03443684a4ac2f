"""The command: `python -m sweep.report`."""

import sys

from sweep.report.command import main

sys.exit(main())
