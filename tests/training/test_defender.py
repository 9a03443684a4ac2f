"""What a defender has, and how it draws from it."""

from dataclasses import fields

import keras
import numpy as np
import pytest
from keras import layers

from sweep.cache import Cache
from sweep.data import Images
from sweep.training import Defender

LABELS = np.arange(10)


class Read:
    """Pixels that count how often they are read; each image is full of its own label."""

    shape = (10, 2, 2, 1)

    def __init__(self) -> None:
        self.times = 0

    def __getitem__(self, rows) -> np.ndarray:
        self.times += 1
        return np.broadcast_to(LABELS[:, None, None, None], self.shape).astype(np.float32)[rows]


def dense(bias: float = 0.0) -> keras.Model:
    images = keras.Input((2, 2, 1), name="images")
    scores = layers.Dense(10, kernel_initializer="ones", name="scores")
    flat = layers.Flatten(name="flatten")(images)
    network = keras.Model(images, scores(flat), name="network")
    scores.bias.assign([bias] * 10)
    return network


NETWORK = dense()


def defender(seed: int = 0, key: str = "images", **given) -> Defender:
    network = given.pop("network", NETWORK)
    return Defender(network, Images(Read(), LABELS, key=key), seed, **given)


def test_drawn_images_keep_their_labels_and_none_is_drawn_twice():
    for count, expected in ((4, 4), (99, 10), (None, 10)):
        pixels, labels = defender().sample(count)
        assert len(labels) == len(set(labels)) == expected
        assert pixels.shape == (expected, 2, 2, 1)
        assert pixels.dtype == np.float32
        np.testing.assert_array_equal(pixels[:, 0, 0, 0], labels)


def test_seed_and_key_decide_what_is_drawn():
    def labels(seed: int, key: int) -> list[int]:
        return defender(seed).sample(key=key)[1].tolist()

    assert labels(1, 0) == labels(1, 0)
    assert len({tuple(labels(seed, key)) for seed in range(3) for key in range(3)}) == 9


@pytest.mark.parametrize("size", [3, 5, 99])
def test_batches_show_each_image_once_before_any_again(size):
    batches = defender().batches(size)
    told = [next(batches) for _ in range(20)]
    assert {len(labels) for _, labels in told} == {min(size, 10)}
    shown = np.concatenate([labels for _, labels in told])
    np.testing.assert_array_equal(np.concatenate([p for p, _ in told])[:, 0, 0, 0], shown)
    rounds = shown[: len(shown) // 10 * 10].reshape(-1, 10)
    assert all(sorted(one) == LABELS.tolist() for one in rounds)
    assert not np.array_equal(rounds[0], rounds[1])


def test_a_repaired_network_has_the_same_defender_who_knows_the_suspect():
    first, second, third = dense(), dense(1.0), dense(2.0)
    one = defender(3, network=first)
    two = one.with_network(second)
    three = two.with_network(third)
    assert one.suspect is two.suspect is three.suspect is first
    assert (one.network, two.network, three.network) == (first, second, third)
    assert (three.images, three.seed, three.cache) == (one.images, one.seed, one.cache)


def test_the_images_are_read_once_whoever_reads_first():
    one = defender()
    two, three = one.with_network(dense()), one.with_network(dense())
    for some in (two, three, one, two.with_network(dense())):
        assert some.sample(2)[0].shape == (2, 2, 2, 1)
        assert some.pixels is two.pixels
    assert one.images.pixels.times == 1


def test_what_took_long_is_made_once_for_equal_network_images_seed_and_settings():
    cache, made = Cache(memory_gb=0.01), []

    def asked(settings: int = 0, **given) -> float:
        def make() -> dict[str, np.ndarray]:
            made.append(1)
            return {"value": np.float64(len(made))}

        return float(
            defender(cache=cache, **given).get_or_compute("what", [settings], make)["value"]
        )

    assert asked() == asked() == 1
    others = [{"settings": 1}, {"seed": 1}, {"key": "others"}, {"network": dense(1.0)}, {"key": ""}]
    assert [asked(**other) for other in others] == [2, 3, 4, 5, 6]
    assert asked(key="") == 7, "what has no name is like nothing else"
    assert asked(network=dense()) == 1


def test_a_defender_has_no_test_images_and_no_poisoned_ones():
    names = {field.name for field in fields(Defender)}
    assert names == {"network", "images", "seed", "cache", "original", "_read"}
