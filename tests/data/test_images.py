"""A set of images: sampled by seed, and refused where a network cannot take it."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from image_files import PIXELS

from sweep import BadInput
from sweep.data import h5
from sweep.data.images import pixel_range


def test_valid_images_are_drawn_by_seed_without_replacement_in_file_order(read):
    data = np.broadcast_to(np.arange(50)[:, None, None, None], (50, 3, 8, 7))
    images = read(data=data, label=np.arange(50))
    drawn = images.sample(20, seed=3)
    assert len(drawn) == 20
    assert np.all(np.diff(drawn.labels) > 0)
    np.testing.assert_array_equal(drawn.pixels[:][:, 0, 0, 0], drawn.labels)
    np.testing.assert_array_equal(images.sample(20, seed=3).labels, drawn.labels)
    assert list(images.sample(20, seed=4).labels) != list(drawn.labels)
    np.testing.assert_array_equal(images.sample(50, seed=3).labels, images.labels)
    assert images.sample(None, seed=3) is images


def test_images_in_memory_are_drawn_as_those_of_a_file(read):
    images = read()
    held = replace(images, pixels=images.pixels[:], key="")
    np.testing.assert_array_equal(held.sample(3, seed=1).pixels, images.sample(3, seed=1).pixels[:])
    assert held.sample(3, seed=1).key == ""


@pytest.mark.parametrize("scale", [1.0, 255, 0.3])
@pytest.mark.parametrize("dtype", ["u1", "<f8", "<i8"])
def test_whole_numbers_up_to_255_are_held_as_bytes_and_read_as_from_the_file(dtype, scale, read):
    images = read(data=PIXELS.astype(dtype), scale=scale)
    held, pixels = images.held(), images.pixels[:]
    assert held.values.nbytes == pixels.nbytes / 4
    assert (len(held), held.shape) == (6, pixels.shape)
    for rows in (np.s_[:], np.s_[1:3], np.array([4, 0, 4]), np.arange(6) > 2):
        assert held[rows].dtype == np.float32
        np.testing.assert_array_equal(held[rows], pixels[rows])
    assert (held.min(), held.max()) == (pixels.min(), pixels.max())
    assert pixel_range(held) == pixel_range(pixels)


@pytest.mark.parametrize("odd", [0.5, -1.0, 256.0, 1e30])
def test_other_pixels_are_held_as_they_are(odd, read):
    data = PIXELS.astype(np.float32)
    data[-1, 0, 0, 0] = odd
    images = read(data=data, scale=255)
    assert images.held().dtype == np.float32
    np.testing.assert_array_equal(images.held(), images.pixels[:])


@pytest.mark.parametrize("count", [0, -1, 7])
def test_more_or_fewer_valid_images_than_there_are_is_refused(count, read):
    with pytest.raises(BadInput, match=rf"data.valid_images is {count}; expected 1 to 6"):
        read().sample(count, seed=0)


def test_images_of_another_shape_than_the_network_takes_are_refused(folder):
    with pytest.raises(BadInput, match=r"valid images are 8 x 7 x 3, the network expects 7 x 8"):
        h5(str(folder)).check((7, 8, 3), 5)


@pytest.mark.parametrize("place", ["cl/valid.h5", "cl/test.h5", "bd/bd_test.h5"])
def test_labels_beyond_the_classes_of_the_network_are_refused(place, folder):
    with h5py.File(folder / place, "a") as file:
        file["label"][4] = 5
    with pytest.raises(BadInput, match=r"labels go up to 5, the network has 5 classes \(0 to 4\)"):
        h5(str(folder)).check((8, 7, 3), 5)


def test_true_labels_beyond_the_classes_of_the_network_are_refused(folder):
    with h5py.File(folder / "bd/bd_test.h5", "a") as file:
        file["true_label"][4] = 9
    with pytest.raises(BadInput, match=r"the poisoned test labels go up to 9"):
        h5(str(folder)).check((8, 7, 3), 5)
