"""Face photographs drawn by formula: a data set that needs no download and shows no real person.

`people` draws identities, `photographs` takes pictures of them: pose, light, expression, background
and camera differ from picture to picture, the person's traits do not. Pictures are 55 x 47 x 3
uint8 with the eyes where an aligned face crop has them. Equal seeds give equal pixels; only numpy.
"""

from sweep.data.faces.identities import People, people
from sweep.data.faces.rendering import SHAPE, photographs

__all__ = ["SHAPE", "People", "people", "photographs"]
