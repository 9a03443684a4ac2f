"""The official archive of the German traffic signs as HDF5 files: python -m sweep.gtsrb ZIP DIR."""

import sys

from sweep.data.gtsrb import main

if __name__ == "__main__":
    sys.exit(main())
