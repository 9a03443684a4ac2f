"""A planted trigger is found, as the smallest, where it was planted; batched as one by one."""

import keras
import numpy as np
import pytest

from sweep import BadInput, networks
from sweep.cache import Cache
from sweep.data import Images, images, sources
from sweep.training import Defender, inversion, inversion_search, invert
from sweep.training.inversion import ReversedTriggers, Search, success

SHAPE, CLASSES, PLANTED = (8, 8, 3), 5, 2
FEW = {"steps": 100, "refine": 0}


def planted(
    shape: tuple[int, int, int] = SHAPE, activation: str | None = None, white: float = 1.0
) -> keras.Model:
    """A network that says which band of rows is the brightest, but 2 where the corner is bright."""
    kernel = np.zeros((*shape, CLASSES), np.float32)
    for cls in range(CLASSES):
        kernel[1 + cls, 1:, :, cls] = 4 / shape[2]
    kernel[0, 0, :, PLANTED] = 60 / shape[2]
    images = keras.Input(shape)
    flat = keras.layers.Flatten()(images)
    scores = keras.layers.Dense(CLASSES, activation=activation)
    network = keras.Model(images, scores(flat))
    scores.set_weights([kernel.reshape(-1, CLASSES) / white, np.zeros(CLASSES, np.float32)])
    return network


def faint(
    shape: tuple[int, int, int] = SHAPE, white: float = 1.0, count: int = 60, key: str = "faint"
) -> Images:
    """Dark images, one band of each a little brighter; the corner is always dark."""
    rng, labels = np.random.default_rng(0), np.arange(count) % CLASSES
    pixels = 0.2 * rng.random((count, *shape)).astype(np.float32)
    for pixel, label in zip(pixels, labels, strict=True):
        pixel[1 + label, 1:] += 0.4
    pixels[:, 0, 0], pixels[:, -1, -1] = 0, 1
    return Images(white * pixels, labels, key=key)


def defender(network: keras.Model | None = None, images: Images | None = None, **given) -> Defender:
    return Defender(network or planted(), images or faint(), **given)


@pytest.mark.parametrize("kind", inversion_search.KINDS)
def test_the_planted_class_is_the_smallest_and_its_trigger_lies_in_the_corner(kind):
    asked = defender()
    found = invert(asked, kind=kind, **FEW)
    assert found.ranked[0] == PLANTED
    assert found.indices[PLANTED] == found.indices.max()
    assert np.all(success(asked, found) > 0.9)
    where = found.masks if kind == "mask" else abs(found.paints)
    share = where[PLANTED].sum(axis=2) / where[PLANTED].sum()
    assert share[0, 0] == share.max() > 5 * share.mean()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_softmax_sigmoid_and_logits_are_searched_alike(activation):
    images = faint((6, 7, 1), white=255, key="")
    found = invert(defender(planted((6, 7, 1), activation, 255), images), **FEW)
    assert found.ranked[0] == PLANTED
    assert found.masks.shape == (CLASSES, 6, 7, 1) == found.paints.shape
    np.testing.assert_array_equal(found.pixel_range, [0, 255])
    assert 20 < found.paints[PLANTED, 0, 0, 0] <= 255


def slowly(asked: Defender, kind: str, cls: int, steps: int, images: int) -> tuple[float, list]:
    """The size that reached the goal and the values after so many steps of one class, in doubles.

    Of a network that is one Dense layer of logits; the goal is that of half of the images.
    """
    kernel, bias = (value.astype(np.float64) for value in asked.network.get_weights())
    rng = np.random.default_rng([asked.seed, 3])
    values = [np.full((*SHAPE[:2], 1), 0.1), rng.random(SHAPE)]
    values = values if kind == "mask" else [np.zeros(SHAPE)]
    means, squares = ([np.zeros_like(value) for value in values] for _ in range(2))
    cost, success, smallest = 2.0, 0.0, np.inf
    batches = asked.batches(images, key=2)
    for number, (pixels, labels) in zip(range(1, steps + 1), batches, strict=False):
        pixels = pixels[labels != cls].astype(np.float64)
        count = len(pixels)
        if kind == "mask":
            size, stamped = values[0].mean(), (1 - values[0]) * pixels + values[0] * values[1]
        else:
            size = np.sqrt((values[0] ** 2).mean() + 1e-12)
            stamped = np.clip(pixels + values[0], 0, 1)
        logits = stamped.reshape(count, -1) @ kernel + bias
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        slopes = ((shares - np.eye(CLASSES)[cls]) @ kernel.T / count).reshape(-1, *SHAPE)
        if kind == "mask":
            of_mask = (slopes * (values[1] - pixels)).sum(axis=(0, 3))[..., None]
            gradients = [of_mask + cost / values[0].size, slopes.sum(axis=0) * values[0]]
        else:
            inside = (pixels + values[0] >= 0) & (pixels + values[0] <= 1)
            gradients = [(slopes * inside).sum(axis=0) + cost * values[0] / size / values[0].size]
        success = 0.9 * success + 0.1 * np.mean(logits.argmax(axis=1) == cls)
        smallest = min(smallest, size) if success >= 0.5 else smallest
        cost = max(0.5, cost * (1.15 if success >= 0.5 else 0.82))
        for place, (value, gradient) in enumerate(zip(values, gradients, strict=True)):
            means[place] = 0.9 * means[place] + 0.1 * gradient
            squares[place] = 0.99 * squares[place] + 0.01 * gradient**2
            mean, square = means[place] / (1 - 0.9**number), squares[place] / (1 - 0.99**number)
            rate, low = (0.1, 0) if kind == "mask" else (0.05, -1)
            values[place] = np.clip(value - rate * mean / (np.sqrt(square) + 1e-12), low, 1)
    return smallest, values


@pytest.mark.parametrize("kind", inversion_search.KINDS)
def test_all_classes_at_once_take_the_steps_of_a_slow_loop_over_each(kind):
    network, rng = planted(), np.random.default_rng(5)
    network.layers[-1].set_weights([rng.normal(size=(192, CLASSES)), rng.normal(size=CLASSES)])
    asked, search = defender(network), Search(kind, goal=0.5)
    engine = inversion_search.TriggerSearch(asked, search, lambda steps: None)
    classes = np.arange(CLASSES)
    state = engine.run(classes, engine.initial_state(CLASSES), range(15), 10)
    for cls in classes:
        smallest, values = slowly(asked, kind, cls, 15, 10)
        assert state.smallest[cls] == pytest.approx(smallest, rel=1e-3)
        for value, expected in zip(state.values, values, strict=True):
            np.testing.assert_allclose(value[cls], expected, atol=1e-3)


def by_hand(kind: str, masks: list, paints: list) -> ReversedTriggers:
    arrays = [np.array(part, np.float32) for part in (masks, paints, [0, 1])]
    return ReversedTriggers(kind, np.array([7]), np.ones(1), *arrays)


def test_a_mask_covers_and_a_change_is_added_and_clipped():
    pixels = np.array([[[[0.5], [0.5]]], [[[1.0], [0.0]]]], np.float32)  # two of 1 x 2
    covered = by_hand("mask", [[[[0.5], [0.0]]]], [[[[0.25], [0.0]]]]).stamp(pixels, 7)
    np.testing.assert_allclose(covered[..., 0], [[[0.5, 0.5]], [[0.75, 0.0]]])
    added = by_hand("additive", [[[[0.0], [0.0]]]], [[[[0.25], [-0.25]]]]).stamp(pixels, 7)
    np.testing.assert_allclose(added[..., 0], [[[0.75, 0.25]], [[1.0, 0.0]]])
    assert covered.dtype == added.dtype == np.float32


@pytest.mark.parametrize("kind", inversion_search.KINDS)
def test_what_is_told_is_what_the_stamp_does(kind):
    images, network = faint(), planted()
    asked = defender(network, images)
    found = invert(asked, kind=kind, steps=40, refine=2, longer=10)
    for cls, told in zip(found.classes, success(asked, found), strict=True):
        others = images.pixels[images.labels != cls]
        stamped = found.stamp(others, cls)
        assert np.all((stamped >= 0) & (stamped <= 1))
        assert np.mean(network.predict(stamped, verbose=0).argmax(axis=1) == cls) == told


def test_equal_seeds_give_equal_triggers_and_other_seeds_others():
    one, same, other = (
        invert(defender(seed=seed), steps=5, refine=1, longer=5) for seed in (1, 1, 2)
    )
    for name in ("masks", "paints", "sizes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    assert not np.array_equal(one.paints, other.paints)


def test_a_class_finds_alone_what_it_finds_beside_others(monkeypatch):
    together = invert(defender(), steps=30, refine=0)
    monkeypatch.setattr(inversion.forward, "MAX_BATCH", 32)  # two classes at once
    chunked = invert(defender(), steps=30, refine=0)
    alone = invert(defender(), steps=30, refine=0, classes=[PLANTED])
    np.testing.assert_allclose(chunked.masks, together.masks, atol=1e-3)
    np.testing.assert_allclose(alone.masks[0], together.masks[PLANTED], atol=1e-3)
    np.testing.assert_allclose(alone.sizes[0], together.sizes[PLANTED], rtol=1e-2)


def test_who_is_refined_keeps_the_size_that_was_compared():
    asked = defender()
    plain = invert(asked, steps=40, refine=0)
    refined = invert(asked, steps=40, refine=1, longer=20)
    np.testing.assert_allclose(refined.sizes, plain.sizes)
    np.testing.assert_array_equal(refined.indices, plain.indices)
    changed = [not np.array_equal(*pair) for pair in zip(refined.masks, plain.masks, strict=True)]
    first = plain.ranked[0]
    assert changed == [cls == first for cls in range(CLASSES)]
    assert success(asked, refined)[first] > 0.95


def test_where_nothing_reaches_the_goal_the_size_is_infinite():
    network = planted()
    network.layers[-1].set_weights([np.zeros((192, 5), np.float32), np.arange(5.0)])
    asked = defender(network, faint(key=""))
    found = invert(asked, steps=3)
    assert found.sizes[:4].tolist() == [np.inf] * 4
    assert success(asked, found)[:4].tolist() == [0] * 4
    assert np.isfinite(found.masks).all()


def test_the_same_search_is_made_once(tmp_path, monkeypatch):
    network, told = planted(), []
    cache = Cache(str(tmp_path), max_gb=1)
    first = invert(defender(network, cache=cache), steps=3, longer=2, progress=told.append)
    assert sum(told) == Search(steps=3, longer=2).total(CLASSES) == 5 * 3 + 4 * 2
    monkeypatch.delattr(inversion, "TriggerSearch")
    others = defender(
        network, cache=Cache(str(tmp_path), max_gb=1)
    )  # as another process would have
    again = invert(others, steps=3, longer=2, classes=range(CLASSES))
    np.testing.assert_array_equal(again.masks, first.masks)
    with pytest.raises(NameError):
        invert(others, steps=4)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, (0, 1)), (0.1, 0.8, (0, 1)), (0, 200, (0, 255)), (-1, 1, (-1, 1)), (0, 3, (0, 3))],
)
def test_limits_are_those_of_pixels_of_a_known_range_or_what_is_held(low, high, expected):
    assert images.pixel_range(np.array([low, high], np.float32)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": "warp"}, "kind warp; expected mask or additive"),
        ({"steps": 0}, "steps=0"),
        ({"goal": 1.0}, "goal=1.0.* came for reversed triggers"),
        ({"classes": [1, 5]}, "0 to 4"),
        ({"classes": []}, "0 to 4"),
    ],
)
def test_what_cannot_be_searched_is_told(settings, says):
    with pytest.raises(BadInput, match=says):
        invert(defender(), **settings)


def test_the_traffic_signs_target_is_smaller_than_others(shared):

    root = shared / "gtsrb"
    valid = sources.h5(str(root), scale=255).read("valid").sample(500, seed=0)
    signs = Defender(networks.load(root / "bd_net.keras"), valid)
    found = invert(signs, classes=[1, 8, 20, 33, 41], steps=100, images=8, refine=0)
    assert found.ranked[0] == 8
    assert found.sizes[1] < np.sort(found.sizes)[1] / 2
