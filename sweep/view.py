"""Show a sweep in MLflow, in a browser: python -m sweep.view."""

import sys

from sweep.results.browser import main

if __name__ == "__main__":
    sys.exit(main())
