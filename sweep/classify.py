"""GoodNet on images of your own, without a server: python -m sweep.classify MODEL IMAGES."""

import sys

from sweep.deployment.commands import classify

if __name__ == "__main__":
    sys.exit(classify())
