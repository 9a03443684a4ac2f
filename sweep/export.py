"""GoodNet and B' as ONNX files: python -m sweep.export MODEL FOLDER."""

import sys

from sweep.deployment.commands import export

if __name__ == "__main__":
    sys.exit(export())
