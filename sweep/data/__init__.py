"""Images: own HDF5 files, the embedded faces, and what an attack makes of them.

`sources.py` is where to start: a run reads `Files`, which `h5` finds or `Faces` renders. Pixels
stay in their file until they are sliced (`hdf5.py`).
"""

from sweep.data.images import Images
from sweep.data.pairing import examples, pairs
from sweep.data.poisoned_files import poisoned
from sweep.data.sources import Files, h5
from sweep.data.synthetic import Faces

__all__ = ["Faces", "Files", "Images", "examples", "h5", "pairs", "poisoned"]
