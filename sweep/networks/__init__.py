"""Keras models: loaded from a stranger's file, opened, run, copied, and made smaller.

`loading.py` is where to start. A network is a functional model, images (n, height, width,
channels) in, one score a class out, and is never changed. `graph.py` tells which layer feeds
which, `layer_types.py` what a layer does to channels, `forward.py` runs them, `outputs.py` says
what scores mean.
"""

from sweep.networks.architectures import deepid
from sweep.networks.cloning import clone
from sweep.networks.identity import digest, shape_and_classes
from sweep.networks.loading import load
from sweep.networks.shrinking import shrunk

__all__ = ["clone", "deepid", "digest", "load", "shape_and_classes", "shrunk"]
