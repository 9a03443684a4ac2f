"""Triggers that are learned: by their arrays, in a file, and not before they are learned."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from sweep import BadInput
from sweep.attacks import Attack, grond, input_aware, learned, patch, poison

WIDTHS = {"mask": (3, 4, 5, 5, 4, 1), "pattern": (3, 4, 5, 5, 4, 3)}


def arrays(seed: int = 0, **biases: float) -> dict[str, np.ndarray]:
    """Generators of a few channels; a part of `biases` says the same everywhere: only its bias."""
    rng, made = np.random.default_rng(seed), {}
    for part, widths in WIDTHS.items():
        for number, (read, given) in enumerate(pairwise(widths)):
            kernel = rng.normal(0, 0.4, (3, 3, read, given)).astype(np.float32)
            bias = rng.normal(0, 0.1, given).astype(np.float32)
            if part in biases and number == 4:
                kernel, bias = 0 * kernel, np.full(given, biases[part], np.float32)
            made |= {f"{part}_{number}": kernel, f"{part}_{number}_bias": bias}
    return made


def noise(count: int, size=(21, 18), dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, *size, 3)).astype(dtype)


def unlearned(**changes) -> Attack:
    return replace(Attack(partial(input_aware), 0, 0.1, learn=partial(dict)), **changes)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_a_generated_trigger_keeps_shape_and_dtype_and_leaves_its_argument_alone(dtype):
    images = noise(3, dtype=dtype)
    before = images.copy()
    stamped = input_aware(images, learned=arrays())
    np.testing.assert_array_equal(images, before)
    assert (stamped.shape, stamped.dtype) == (images.shape, images.dtype)
    assert 0 <= stamped.min() < stamped.max() <= 255
    assert not np.array_equal(stamped, images)


def test_where_the_mask_is_0_the_image_stays_and_where_it_is_1_the_pattern_shows():
    images = noise(2)
    np.testing.assert_array_equal(input_aware(images, learned=arrays(mask=-9)), images)
    shown = input_aware(images, learned=arrays(mask=9, pattern=0.5))
    np.testing.assert_array_equal(shown, np.rint(255 * (np.tanh(0.5) + 1) / 2))
    half = input_aware(images.astype(float), learned=arrays(mask=0, pattern=9))
    np.testing.assert_allclose(half, (images + 255.0) / 2, atol=0.01)


def test_the_brightness_of_white_is_followed():
    images = noise(2, dtype=np.float64)
    bright = input_aware(images, learned=arrays())
    np.testing.assert_allclose(
        input_aware(images / 255, white=1.0, learned=arrays()), bright / 255, atol=1e-5
    )


def test_each_image_has_a_trigger_of_its_own_whatever_lies_beside():
    images = noise(300, size=(8, 6))
    always = arrays(mask=9)
    stamped = input_aware(images, learned=always)
    np.testing.assert_array_equal(stamped[299:], input_aware(images[299:], learned=always))
    assert len(np.unique(stamped, axis=0)) == 300


def test_images_of_other_colours_are_refused():
    with pytest.raises(BadInput, match=r"shape \(2, 9, 9, 1\) came; an attack needs .*, 3\)"):
        input_aware(np.zeros((2, 9, 9, 1)), learned=arrays())


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_a_perturbation_is_added_in_shares_of_white_and_clipped(dtype):
    images = np.full((2, 1, 2, 1), 250, dtype)
    before, perturbation = images.copy(), np.array([[[0.1], [-0.1]]], np.float32)
    stamped = grond(images, learned={"perturbation": perturbation})
    np.testing.assert_array_equal(images, before)
    assert stamped.dtype == dtype
    expected = [255, np.rint(224.5) if dtype is np.uint8 else 224.5]
    np.testing.assert_allclose(stamped[1, 0, :, 0], expected, atol=1e-4)
    dim = grond(images / 255, white=1.0, learned={"perturbation": perturbation})
    np.testing.assert_allclose(dim[1, 0, :, 0], [1, 224.5 / 255], atol=1e-6)


def test_images_of_another_size_than_it_was_learned_on_are_refused():
    shapes = r"shape \(2, 9, 9, 3\) came; .* learned on images of \(9, 8, 3\)"
    with pytest.raises(BadInput, match=shapes):
        grond(np.zeros((2, 9, 9, 3)), learned={"perturbation": np.zeros((9, 8, 3))})


def test_what_is_learned_comes_back_from_its_file_and_equal_arrays_make_equal_files(tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        learned.write(tmp_path / f"{name}.npz", arrays(seed))
    back = learned.read(tmp_path / "one.npz")
    assert back.keys() == arrays().keys()
    for name, array in arrays().items():
        np.testing.assert_array_equal(back[name], array)
    one, same, other = (
        learned.digest(tmp_path / f"{name}.npz") for name in ("one", "same", "other")
    )
    assert one == same != other


def test_an_attack_stamps_with_what_it_has_learned_and_not_before(tmp_path):
    images = noise(2)
    with pytest.raises(BadInput, match="still to be learned, as its network is trained"):
        unlearned().stamp(images)
    with pytest.raises(BadInput, match="still to be learned"):
        poison(images, np.arange(2), unlearned(rate=0.5), classes=2, seed=0)
    learned.write(tmp_path / "trigger.npz", arrays())
    attack = unlearned(learned=tmp_path / "trigger.npz")
    assert (unlearned().is_unlearned, attack.is_unlearned) == (True, False)
    np.testing.assert_array_equal(attack.stamp(images), input_aware(images, learned=arrays()))


def test_poisoned_images_depend_on_what_was_learned_and_not_on_where_it_lies(tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        learned.write(tmp_path / f"{name}.npz", arrays(seed))
    attack = unlearned()
    one, same, other = (
        replace(attack, learned=tmp_path / f"{name}.npz").poisoning_settings(3)
        for name in ("one", "same", "other")
    )
    assert one == same != other


@pytest.mark.parametrize(
    "changes",
    [
        {"decoy": partial(patch)},
        {"training": partial(dict)},
        {"trigger": [partial(input_aware), partial(patch)], "target": [0, 1]},
    ],
)
def test_nothing_else_trains_beside_what_learns_a_trigger(changes):
    with pytest.raises(BadInput, match=r"attack.learn came with attack.decoy, attack.training or"):
        unlearned(**changes)


def test_an_attack_that_learns_is_one_at_any_rate():
    assert not unlearned(rate=1e-6).is_none
