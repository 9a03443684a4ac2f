"""What is kept of a cut network and its images: the passes that it takes are counted."""

import shutil
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import pytest
from zoo import PIXELS, SHAPE, lenet, normalised, one_relu, randomized, residual_sum, untouched

from sweep import orders
from sweep.cache import Cache
from sweep.data import Images
from sweep.evaluation.curve import steps_of
from sweep.networks import custom_objects, digest, forward, load
from sweep.networks.forward import predict
from sweep.pruning import Cut, Evidence, LayerActivations, activations
from sweep.pruning.ranking import ranking

at = LayerActivations  # all cuts here are of one layer

CHANNELS = np.array([4, 0, 5, 2, 1, 3])
OTHERS = np.array([1, 2, 3])
BATCHES = 4  # of at most 16 of 50 images


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(forward, "MAX_BATCH", 16)


@pytest.fixture
def passes(monkeypatch) -> Counter:
    """How many batches ran through the parts of cut networks since it was last cleared."""
    count = Counter()
    for part in ("maps", "boundary", "predict_steps"):
        ran = getattr(Cut, part)

        def counted(cut, *parts, part=part, ran=ran):
            count[part] += 1
            return ran(cut, *parts)

        monkeypatch.setattr(Cut, part, counted)
    return count


def images(key: str = "fifty", pixels: np.ndarray = PIXELS) -> Images:
    return Images(pixels, np.zeros(len(pixels), dtype=np.int64), key=key)


def process(folder: Path | None, memory_gb: float = 0) -> Cache:
    """The cache of another process."""
    return Cache(folder and str(folder), 1, memory_gb)


def assert_passes(passes: Counter, **expected: int) -> None:
    """And from here on they are counted anew."""
    assert dict(passes) == expected
    passes.clear()


@pytest.mark.parametrize("ranked", [False, True])
@pytest.mark.parametrize("builder", [lenet, residual_sum], ids=["pooled", "beside"])
def test_a_second_process_makes_no_pass_for_the_same_channels(builder, ranked, passes, tmp_path):
    network = randomized(builder(untouched))
    layer = "conv_2" if builder is lenet else "add"
    part = "maps" if ranked else "boundary"
    plain = at(Cut(network, layer), images()).predict_steps(CHANNELS)
    passes.clear()
    first = at(Cut(network, layer), images(), process(tmp_path), ranked=ranked)
    np.testing.assert_array_equal(first.predict_steps(CHANNELS), plain)
    assert_passes(passes, **{part: BATCHES, "predict_steps": BATCHES})
    second = at(Cut(network, layer), images(), process(tmp_path), ranked=ranked)
    np.testing.assert_array_equal(second.predict_steps(CHANNELS), plain)
    assert_passes(passes)


@pytest.mark.parametrize("ranked", [False, True])
def test_another_order_makes_no_pass_before_the_cut(ranked, passes, tmp_path):
    network = randomized(lenet(untouched))
    at(Cut(network, "conv_2"), images(), process(tmp_path), ranked=ranked).predict_steps(OTHERS)
    passes.clear()
    cut = Cut(network, "conv_2")
    second = at(cut, images(), process(tmp_path), ranked=ranked)
    for channels in (CHANNELS, CHANNELS[::-1], CHANNELS[:4]):
        told = second.predict_steps(channels)
        assert_passes(passes, predict_steps=BATCHES)
        plain = at(Cut(network, "conv_2"), images()).predict_steps(channels)
        np.testing.assert_array_equal(told, plain)
        passes.clear()


def test_curves_of_other_steps_are_kept_apart(passes, tmp_path):
    network = randomized(lenet(untouched))
    whole = at(Cut(network, "conv_2"), images()).predict_steps(CHANNELS)
    for expected in ({"predict_steps": BATCHES}, {}):
        for step in (1, 2, 0.5):
            passes.clear()
            kept = at(Cut(network, "conv_2"), images(), process(tmp_path))
            told = kept.predict_steps(CHANNELS, step=step)
            np.testing.assert_array_equal(told, whole[steps_of(len(CHANNELS), step)])
            assert passes["predict_steps"] == expected.get("predict_steps", 0)


def test_ranking_and_curve_share_one_pass_before_the_cut(passes, tmp_path):
    cut = Cut(randomized(lenet(untouched)), "conv_2")
    valid = at(cut, images(), process(tmp_path), ranked=True)
    valid.scores(partial(orders.mean_activation), 0)
    valid.predict_steps(CHANNELS)
    valid.mean()
    assert_passes(passes, maps=BATCHES, predict_steps=BATCHES)


def test_other_semantics_share_the_pass_before_the_cut(passes, tmp_path):
    network = randomized(normalised(untouched))
    told = {}
    for semantics, expected in (("zero", {"boundary": BATCHES}), ("gamma", {})):
        at_cut = at(Cut(network, "conv_2", semantics), images(), process(tmp_path))
        told[semantics] = at_cut.predict_steps(CHANNELS)
        assert_passes(passes, predict_steps=BATCHES, **expected)
        plain = at(Cut(network, "conv_2", semantics), images()).predict_steps(CHANNELS)
        np.testing.assert_array_equal(told[semantics], plain)
        passes.clear()
    assert (told["zero"] != told["gamma"]).any()


def test_another_network_or_layer_and_other_images_make_everything_anew(passes, tmp_path):
    network, other = randomized(lenet(untouched)), randomized(lenet(untouched), seed=1)
    noisy = PIXELS + np.random.default_rng(9).normal(size=PIXELS.shape).astype(np.float32)
    some = np.arange(4)
    for network_, layer, images_ in [
        (network, "conv_2", images()),
        (other, "conv_2", images()),
        (network, "conv_1", images()),
        (network, "fc_1", images()),
        (network, "conv_2", images("noisy", noisy)),
    ]:
        told = at(Cut(network_, layer), images_, process(tmp_path)).predict_steps(some)
        assert_passes(passes, boundary=BATCHES, predict_steps=BATCHES)
        plain = at(Cut(network_, layer), images_).predict_steps(some)
        np.testing.assert_array_equal(told, plain)
        passes.clear()


def test_a_weight_that_changes_makes_everything_anew(passes, tmp_path):
    network = randomized(lenet(untouched))
    at(Cut(network, "conv_2"), images(), process(tmp_path)).predict_steps(CHANNELS)
    bias = network.get_layer("fc_2").bias
    bias.assign(bias.numpy() + np.float32([0, 0, 0, 0, 1e-3]))
    passes.clear()
    at(Cut(network, "conv_2"), images(), process(tmp_path)).predict_steps(CHANNELS)
    assert_passes(passes, boundary=BATCHES, predict_steps=BATCHES)


def test_one_activation_layer_behind_several_convolutions_is_several_sites(tmp_path):
    network = randomized(one_relu(untouched))
    for layer in ("conv_1", "conv_3", "conv_2"):
        kept = at(Cut(network, layer), images(), process(tmp_path), ranked=True)
        plain = at(Cut(network, layer), images(), ranked=True)
        np.testing.assert_array_equal(kept.mean(), plain.mean())
        np.testing.assert_array_equal(
            kept.predict_steps(np.arange(4)), plain.predict_steps(np.arange(4))
        )


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[300] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("ranked", [False, True])
@pytest.mark.parametrize("damage", [flipped, Path.unlink], ids=["flipped", "deleted"])
def test_of_damaged_batches_those_alone_are_made_anew(damage, ranked, passes, tmp_path):
    network = randomized(lenet(untouched))
    told = at(Cut(network, "conv_2"), images(), process(tmp_path), ranked=ranked)
    told = told.predict_steps(CHANNELS)
    part = "maps" if ranked else "boundary"
    batches = sorted((tmp_path / part).rglob("*.npz"))
    assert [path.name for path in batches] == [f"{number:05}.npz" for number in range(BATCHES)]
    shutil.rmtree(tmp_path / "predictions")
    for expected in ({part: 2, "predict_steps": BATCHES}, {}):
        if expected:
            damage(batches[1])
            damage(batches[3])
        passes.clear()
        again = at(Cut(network, "conv_2"), images(), process(tmp_path), ranked=ranked)
        np.testing.assert_array_equal(again.predict_steps(CHANNELS), told)
        assert_passes(passes, **expected)


def test_batches_that_were_exchanged_are_made_anew(passes, tmp_path):
    network = randomized(lenet(untouched))
    told = at(Cut(network, "conv_2"), images(), process(tmp_path)).predict_steps(CHANNELS)
    first, second, *_ = sorted((tmp_path / "boundary").rglob("*.npz"))
    first.rename(tmp_path / "first")
    second.rename(first)
    (tmp_path / "first").rename(second)
    shutil.rmtree(tmp_path / "predictions")
    passes.clear()
    again = at(Cut(network, "conv_2"), images(), process(tmp_path))
    np.testing.assert_array_equal(again.predict_steps(CHANNELS), told)
    assert_passes(passes, boundary=2, predict_steps=BATCHES)


def test_images_without_a_key_are_never_kept(passes, tmp_path):
    cut, cache = Cut(randomized(lenet(untouched)), "conv_2"), process(tmp_path, memory_gb=1)
    told = []
    for pixels in (PIXELS, PIXELS[::-1]):
        nameless = at(cut, images("", pixels), cache, ranked=True)
        told.append(nameless.predict_steps(CHANNELS))
        nameless.mean()
        nameless.scores(partial(orders.mean_activation), 0)
        assert_passes(passes, maps=3 * BATCHES, predict_steps=BATCHES)
    np.testing.assert_array_equal(told[0], told[1][:, ::-1])
    assert list(tmp_path.iterdir()) == []


def test_in_memory_nothing_is_made_twice_without_a_folder(passes):
    network, cache = randomized(lenet(untouched)), process(None, memory_gb=1)
    for expected in ({"boundary": BATCHES, "predict_steps": BATCHES}, {}):
        at(Cut(network, "conv_2"), images(), cache).predict_steps(CHANNELS)
        assert_passes(passes, **expected)


@pytest.mark.parametrize(
    ("builder", "layer", "site"),
    [
        (lenet, "conv_2", "conv_2"),
        (normalised, "conv_2", "relu_2"),
        (residual_sum, "add", "relu_2"),
    ],
)
def test_iterated_it_is_the_maps_of_the_site_in_the_images_order(builder, layer, site, tmp_path):
    network = randomized(builder(untouched))
    slow = np.asarray(keras.Model(network.input, network.get_layer(site).output)(PIXELS))
    for ranked in (False, True):
        for _ in range(2):
            kept = at(Cut(network, layer), images(), process(tmp_path), ranked=ranked)
            batches = list(kept)
            assert [len(maps) for maps in batches] == [16, 16, 16, 2]
            assert len(kept) == 50
            np.testing.assert_allclose(np.concatenate(batches), slow, rtol=1e-4, atol=1e-5)
            assert kept.mean().dtype == np.float64
            mean = np.concatenate(batches).mean(axis=0, dtype=np.float64)
            np.testing.assert_allclose(kept.mean(), mean, rtol=1e-12)


def test_the_mean_is_kept_and_needs_no_maps_any_more(passes, tmp_path):
    network = randomized(lenet(untouched))
    mean = at(Cut(network, "conv_2"), images(), process(tmp_path), ranked=True).mean()
    assert_passes(passes, maps=BATCHES)
    shutil.rmtree(tmp_path / "maps")
    again = at(Cut(network, "conv_2"), images(), process(tmp_path), ranked=True).mean()
    np.testing.assert_array_equal(again, mean)
    assert_passes(passes)


def test_the_first_answer_is_the_networks_and_the_last_the_pruned_ones(tmp_path):
    network = randomized(lenet(untouched))
    for _ in range(2):
        cut = Cut(network, "conv_2")
        told = at(cut, images(), process(tmp_path)).predict_steps(CHANNELS)
        assert told.shape == (7, 50)
        assert told.dtype == np.int32
        np.testing.assert_array_equal(told[0], predict(network, PIXELS))
        np.testing.assert_array_equal(told[4], predict(cut.pruned(CHANNELS[:4]), PIXELS))


def test_progress_is_told_every_image_once_and_nothing_of_what_is_kept(tmp_path):
    network, told = randomized(lenet(untouched)), []
    for _ in range(2):
        kept = at(Cut(network, "conv_2"), images(), process(tmp_path))
        kept.predict_steps(CHANNELS, told.append)
    assert sum(told) == 50


@pytest.mark.parametrize("builder", [lenet, residual_sum], ids=["pooled", "beside"])
def test_batches_of_any_size_and_ranked_or_not_give_equal_answers(builder, monkeypatch):
    network = randomized(builder(untouched))
    layer = "conv_2" if builder is lenet else "add"
    told = []
    for most in (1, 8, 64):
        monkeypatch.setattr(forward, "MAX_BATCH", most)
        for ranked in (False, True):
            cut = Cut(network, layer)
            assert cut.batch_size == most
            told.append(at(cut, images(), ranked=ranked).predict_steps(CHANNELS))
    for other in told[1:]:
        np.testing.assert_array_equal(other, told[0])


def test_the_part_behind_the_cut_takes_several_batches_together(passes, monkeypatch):
    network = randomized(lenet(untouched))
    plain = at(Cut(network, "conv_2"), images()).predict_steps(CHANNELS)
    for at_once, expected in ((16, 4), (32, 2), (64, 1)):
        cut = Cut(network, "conv_2")
        cut.tail_batch_size = at_once
        passes.clear()
        np.testing.assert_array_equal(at(cut, images()).predict_steps(CHANNELS), plain)
        assert_passes(passes, boundary=BATCHES, predict_steps=expected)


class Asked:
    """An order that counts how often it is asked, and gives scores by its settings."""

    def __init__(self) -> None:
        self.asked = 0

    def order(self, module: ModuleType | None = None, **settings: object) -> partial:
        def counting_order(evidence: Evidence, **settings: object) -> np.ndarray:
            self.asked += 1
            return np.arange(6.0) + len(settings) + evidence.seed

        if module:
            counting_order.__module__ = module.__name__
        return partial(counting_order, **settings)


def test_scores_are_kept_by_the_orders_settings_and_the_seed(tmp_path):
    network, asked = randomized(lenet(untouched)), Asked()
    settings = [({}, 0), ({"power": 1}, 0), ({"power": 2}, 0), ({}, 1)]
    for _ in range(2):
        for number, (chosen, seed) in enumerate(settings, start=1):
            cut = Cut(network, "conv_2")
            kept = at(cut, images(), process(tmp_path), ranked=True)
            scores = kept.scores(asked.order(**chosen), seed)
            np.testing.assert_array_equal(scores, np.arange(6.0) + len(chosen) + seed)
            assert asked.asked >= number
    assert asked.asked == len(settings)


def test_scores_are_kept_by_the_source_of_the_orders_module(tmp_path, monkeypatch):
    cut, asked, kept_in = Cut(randomized(lenet(untouched)), "conv_2"), Asked(), tmp_path / "cache"
    module = ModuleType("orders_of_a_user")
    module.__file__ = str(tmp_path / "orders_of_a_user.py")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for source, expected in (("1", 1), ("1", 1), ("2", 2), ("1", 2)):
        Path(module.__file__).write_text(source)
        kept = at(cut, images(), process(kept_in), ranked=True)
        kept.scores(asked.order(module), 0)
        assert asked.asked == expected


def test_scores_may_be_a_list(tmp_path):
    cut = Cut(randomized(lenet(untouched)), "conv_2")
    kept = at(cut, images(), process(tmp_path), ranked=True)

    def by_hand(evidence: Evidence) -> list[float]:
        return [3.0, 1.0, 2.0, 0.0, 5.0, 4.0]

    scores = kept.scores(partial(by_hand), 0)
    assert ranking(scores).tolist() == [3, 1, 2, 0, 5, 4]


def test_everything_is_made_anew_where_a_source_or_a_version_changes(passes, tmp_path, monkeypatch):
    network, kept_in = randomized(lenet(untouched)), tmp_path / "cache"
    everything = {"boundary": BATCHES, "predict_steps": BATCHES}

    def ask(**expected: int) -> None:
        at(Cut(network, "conv_2"), images(), process(kept_in)).predict_steps(CHANNELS)
        assert_passes(passes, **expected)

    ask(**everything)
    module = ModuleType("another")
    module.__file__ = str(tmp_path / "another.py")
    monkeypatch.setattr(activations, "MADE_BY", (*activations.MADE_BY, module))
    for source, expected in (("1", everything), ("1", {}), ("2", everything), ("1", {})):
        Path(module.__file__).write_text(source)
        ask(**expected)
    monkeypatch.setattr(activations, "VERSIONS", [*activations.VERSIONS[:-1], "0.0.0"])
    ask(**everything)
    ask()


def test_what_is_kept_is_named_by_the_versions_of_the_libraries_too():
    assert {keras.__version__, np.__version__} < set(activations.VERSIONS)


def test_the_git_commit_is_not_part_of_the_name(passes, tmp_path, monkeypatch):
    network = randomized(lenet(untouched))
    at(Cut(network, "conv_2"), images(), process(tmp_path / "cache")).predict_steps(CHANNELS)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    passes.clear()
    at(Cut(network, "conv_2"), images(), process(tmp_path / "cache")).predict_steps(CHANNELS)
    assert_passes(passes)


SCALING = """import keras

class Scaling(keras.layers.Layer):
    def call(self, images):
        return images * {factor}
"""


def test_everything_is_made_anew_where_the_code_of_a_custom_layer_changes(passes, tmp_path):
    code, saved, digests = tmp_path / "scaling.py", tmp_path / "network.keras", set()

    def build(layer: Callable[[], keras.layers.Layer]) -> keras.Model:
        x = pixels = keras.Input(SHAPE, name="pixels")
        x = keras.layers.Conv2D(6, 3, activation="tanh", name="conv")(layer(name="scaling")(x))
        x = keras.layers.Flatten(name="flatten")(x)
        return randomized(keras.Model(pixels, keras.layers.Dense(5, name="scores")(x), name="own"))

    for factor, expected in ((1.0, BATCHES), (1.0, 0), (-1.50, BATCHES), (1.0, 0)):
        code.write_text(SCALING.format(factor=factor))
        custom = custom_objects.load_custom_objects(str(code))
        build(custom["Scaling"]).save(saved)
        network = load(saved, custom_objects=custom)
        digests.add(digest(network))
        told = at(Cut(network, "conv"), images(), process(tmp_path / "cache"))
        told = told.predict_steps(CHANNELS)
        assert passes["boundary"] == passes["predict_steps"] == expected
        plain = at(Cut(network, "conv"), images()).predict_steps(CHANNELS)
        np.testing.assert_array_equal(told, plain)
        passes.clear()
    assert len(digests) == 2


@pytest.mark.parametrize("ranked", [False, True])
def test_whether_images_are_passed_and_steps_known_is_seen_without_a_pass(ranked, passes, tmp_path):
    network = randomized(lenet(untouched))

    def kept(key: str = "fifty", folder: Path | None = tmp_path) -> LayerActivations:
        return at(Cut(network, "conv_2"), images(key), process(folder), ranked=ranked)

    assert not kept().is_passed
    kept().predict_steps(CHANNELS)
    passes.clear()
    assert kept().is_passed
    assert kept().knows_steps(CHANNELS)
    assert not kept().knows_steps(OTHERS)
    for other in (kept("others"), kept("fifty", None), kept("")):
        assert not other.is_passed
        assert not other.knows_steps(CHANNELS)
    assert not passes
