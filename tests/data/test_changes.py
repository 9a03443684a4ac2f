"""Clean images of another kind than those in use: what becomes of pixels, labels and names."""

import numpy as np
import pytest
from image_files import SUNGLASSES

from sweep import BadInput
from sweep.data import Faces, changes, h5, hdf5, poisoned
from sweep.data.images import BytePixels

SHAPE = (24, 20, 3)


@pytest.fixture
def folder(tmp_path, write):
    """A folder in the lab's layout: 24 x 20 images of 3 colours, 5 classes, 40 in each file."""
    rng = np.random.default_rng(0)
    for place in ("cl/valid.h5", "cl/test.h5"):
        pixels = rng.integers(0, 256, (40, 3, 24, 20), dtype=np.uint8)
        write(tmp_path / "own" / place, data=pixels, label=np.arange(40) % 5)
    stamped = rng.integers(0, 256, (12, 3, 24, 20), dtype=np.uint8)
    true = {"label": np.zeros(12), "true_label": 1 + np.arange(12) % 4}
    write(tmp_path / "own" / "bd" / "bd_test.h5", data=stamped, **true)
    return tmp_path / "own"


def valid(folder, seed=0, **given):
    """The clean validation images of a defender, and all of its files."""
    source = h5(str(folder), **given)
    return source.images(SHAPE, 5, seed)["valid"]


def test_so_many_of_each_class_are_drawn_by_seed_and_all_of_a_smaller_one(read):
    labels = np.array([2] * 30 + [0] * 2 + [1] * 18)[np.random.default_rng(0).permutation(50)]
    data = np.broadcast_to(np.arange(50)[:, None, None, None], (50, 3, 8, 7))
    images = read(data=data, label=labels)
    drawn = images.sample_per_class(7, seed=3)
    assert np.bincount(drawn.labels).tolist() == [2, 7, 7]
    assert np.all(np.diff(drawn.numbers) > 0)
    np.testing.assert_array_equal(labels[drawn.numbers], drawn.labels)
    np.testing.assert_array_equal(drawn.pixels[:][:, 0, 0, 0], drawn.numbers)
    again, other = images.sample_per_class(7, seed=3), images.sample_per_class(7, seed=4)
    assert again.key == drawn.key != other.key
    np.testing.assert_array_equal(images.sample_per_class(99, seed=3).labels, labels)


def test_a_count_of_each_class_stands_before_the_most_there_may_be(folder):
    drawn = valid(folder, valid_per_class=3, valid_at_most=4)
    assert np.bincount(drawn.labels).tolist() == [3] * 5


@pytest.mark.parametrize("faces", [True, False])
def test_counts_of_two_kinds_and_unknown_kinds_of_images_are_refused(faces, folder):
    def source(**given):
        return Faces(3, 8, 0, "unused", **given) if faces else h5(str(folder), **given)

    with pytest.raises(BadInput, match=r"valid_images=5 came with data.valid_per_class=2, .* out$"):
        source(valid_images=5, valid_per_class=2)
    with pytest.raises(BadInput, match=r"valid_changed is red; expected brightened, blurred, misl"):
        source(valid_changed="red")


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_brightened_images_are_so_much_brighter_and_clipped(scale, folder):
    before = valid(folder, scale=scale).pixels[:] * scale
    after = valid(folder, scale=scale, valid_changed="brightened").pixels[:] * scale
    expected = np.minimum(np.rint(before + 0.15 * 255), 255)
    np.testing.assert_allclose(after, expected, rtol=1e-6)
    assert after.mean() > before.mean() + 30


def test_pixels_up_to_1_are_not_rounded():
    pixels = np.array([[[[0.5], [0.9]]]], np.float32)
    np.testing.assert_allclose(changes.brightened(pixels, white=1.0).ravel(), [0.65, 1.0])


@pytest.mark.parametrize(("size", "sigma"), [(32, 1.0), (64, 2.0)])
def test_a_point_is_blurred_to_a_gaussian_as_wide_as_the_image_is_large(size, sigma):
    point = np.zeros((1, size, size, 1), np.float32)
    point[0, size // 2, size // 2] = 1
    spread = changes.blurred(point, white=1.0)[0, :, :, 0].astype(float)
    assert spread.sum() == pytest.approx(1, rel=1e-5)
    at = np.arange(size) - size // 2
    assert np.sqrt((spread.sum(axis=1) * at**2).sum()) == pytest.approx(sigma, rel=0.03)
    assert spread[size // 2 + 1, size // 2] / spread.max() == pytest.approx(
        np.exp(-0.5 / sigma**2), rel=1e-5
    )


def test_blurred_images_keep_a_plain_colour_to_the_edge_and_each_of_its_own_colours():
    pixels = np.broadcast_to(np.float32([10, 200, 255]), (2, 9, 40, 3)).copy()
    np.testing.assert_array_equal(changes.blurred(pixels, white=255.0), pixels)
    pixels[1] = 0
    np.testing.assert_array_equal(changes.blurred(pixels, white=255.0), pixels)


def test_of_wrong_labels_there_are_5_in_100_of_every_other_class_drawn_by_seed():
    labels = np.repeat(np.arange(4), 1000)
    given = changes.mislabelled(labels, classes=4, seed=0)
    wrong = given != labels
    assert wrong.sum() == 200
    assert (given.min(), given.max()) == (0, 3)
    steps = np.bincount((given - labels)[wrong] % 4, minlength=4)
    assert steps[0] == 0
    assert steps[1:].min() > 40
    np.testing.assert_array_equal(changes.mislabelled(labels, classes=4, seed=0), given)
    assert np.any(changes.mislabelled(labels, classes=4, seed=1) != given)
    assert (changes.mislabelled(labels[:6], classes=4, seed=0) != labels[:6]).sum() == 1


def test_images_of_one_class_cannot_be_mislabelled():
    with pytest.raises(BadInput, match="expected images of two classes at least"):
        changes.mislabelled(np.zeros(9, np.int64), classes=1, seed=0)


@pytest.mark.parametrize("kind", changes.KINDS)
def test_only_the_images_of_the_defender_are_changed(kind, folder):
    plain = h5(str(folder)).images(SHAPE, 5, seed=0)
    images = h5(str(folder), valid_changed=kind).images(SHAPE, 5, seed=0)
    for name in ("test", "poisoned"):
        np.testing.assert_array_equal(images[name].pixels[:], plain[name].pixels[:])
        assert images[name].key == plain[name].key
    same_pixels = np.array_equal(images["valid"].pixels[:], plain["valid"].pixels[:])
    same_labels = np.array_equal(images["valid"].labels, plain["valid"].labels)
    assert (same_pixels, same_labels) == (kind == "mislabelled", kind != "mislabelled")


def test_every_kind_has_a_name_of_its_own_that_stays_the_same(folder):
    def key(**given):
        return valid(folder, **given).key

    kinds = [{"valid_changed": kind} for kind in changes.KINDS]
    keys = [key(), *(key(**kind) for kind in kinds), *(key(**kind, scale=255.0) for kind in kinds)]
    keys += [key(valid_per_class=2), key(valid_per_class=2, valid_changed="blurred")]
    keys += [key(seed=1, valid_changed="mislabelled")]
    assert len(set(keys)) == len(keys)
    assert key(valid_changed="blurred") == keys[2]


@pytest.mark.parametrize("kind", ["brightened", "blurred"])
def test_changed_pixels_are_read_in_parts_and_held_as_bytes(kind, folder, monkeypatch):
    images = valid(folder, valid_images=11, valid_changed=kind, scale=255.0)
    whole = images.pixels[:]
    monkeypatch.setattr(hdf5, "BLOCK_BYTES", 4 * 24 * 20 * 3 * 2)  # two images
    np.testing.assert_array_equal(images.pixels[:], whole)
    np.testing.assert_array_equal(images.pixels[3:8], whole[3:8])
    taken = images.pixels.take(np.array([9, 2]))
    np.testing.assert_array_equal(taken[:], whole[[9, 2]])
    held = images.held()
    assert isinstance(held, BytePixels)
    np.testing.assert_allclose(held[:], whole, rtol=1e-6)


@pytest.mark.parametrize("kind", changes.KINDS)
def test_the_poisoned_images_are_made_once_whatever_the_defender_has(kind, folder, tmp_path):
    kept = {"scale": 1.0, "folder": str(tmp_path / "made")}
    made = {
        poisoned(h5(str(folder), valid_changed=changed, **kept), SUNGLASSES).poisoned_test
        for changed in (None, kind)
    }
    assert len(made) == 1


def test_the_faces_of_a_defender_may_be_of_another_kind_too(tmp_path):
    def images(**given):
        source = Faces(3, 8, seed=0, folder=str(tmp_path), **given).files(SUNGLASSES)
        return source.images((55, 47, 3), 3, seed=0)

    plain, changed = images(), images(valid_per_class=1, valid_changed="brightened")
    assert sorted(changed["valid"].labels.tolist()) == [0, 1, 2]
    before = plain["valid"].pixels.take(changed["valid"].numbers)[:]
    np.testing.assert_array_equal(
        changed["valid"].pixels[:], np.minimum(np.rint(before + 38.25), 255)
    )
    assert changed["test"].key == plain["test"].key
