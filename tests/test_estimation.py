"""What a curve will take: reckoned right of what was timed, and told once, where it is long."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from zoo import lenet, randomized, transformer, untouched

from sweep import estimation
from sweep.cache import Cache
from sweep.data import Images
from sweep.estimation import Estimate, Pace, announce, estimate
from sweep.evaluation.curve import Ranking
from sweep.networks.loading import as_functional
from sweep.pruning import activations_of, cut_at, predict_steps

COUNTS = {"valid": 60, "test": 50, "poisoned": 30}


class TimedCut:
    """A cut whose work takes a known time by a clock of its own; made ready by the first work."""

    batch_size, tail_batch_size, channels, tail = 4, 16, 500, "timed"
    MADE_READY, TO_CUT, BEHIND = 7.0, 0.25, 0.125  # seconds, and of an image
    STEP, KEPT = 0.001, 0.0005  # of an image's step, and of one that is not taken

    def __init__(self) -> None:
        self.now, self.ready, self.steps = 100.0, set(), []

    def _work(self, what: str, seconds: float) -> None:
        self.now += seconds + (0 if what in self.ready else self.MADE_READY)
        self.ready.add(what)

    def boundary(self, pixels: np.ndarray) -> list[np.ndarray]:
        self._work("boundary", self.TO_CUT * len(pixels))
        return [np.zeros((len(pixels), 3, 3, 5)), np.zeros((len(pixels), 2))]

    def choose_tail(self, maps: np.ndarray, bypass: list) -> None:
        assert (len(maps), len(bypass[0])) == (16, 16)
        self.now += self.MADE_READY

    def predict_steps(
        self, maps: np.ndarray, bypass: list, channels: np.ndarray, step: float
    ) -> None:
        assert len(maps) == len(bypass[0])
        left = self.channels - len(channels)
        self._work("steps", len(maps) * (self.STEP * len(channels) + self.KEPT * left))
        self.steps.append((len(maps), len(channels)))

    def scores(self, maps: np.ndarray, bypass: list, channels: np.ndarray) -> None:
        assert not len(channels)
        self._work("scores", self.BEHIND * len(maps))


def test_seconds_are_reckoned_from_few_batches_and_few_steps(monkeypatch):
    cut = TimedCut()
    monkeypatch.setattr(estimation, "time", SimpleNamespace(perf_counter=lambda: cut.now))
    pace = estimation._measure(cut, np.zeros((70, 8, 8, 3), np.float32))
    assert (pace.channels, pace.steps, pace.tail) == (500, 501, "timed")
    assert pace.values == 3 * 3 * 5 + 2
    assert pace.start == pytest.approx(3 * cut.MADE_READY)
    assert pace.to_cut == pytest.approx(cut.TO_CUT)
    assert pace.curve == pytest.approx(500 * cut.STEP)
    assert pace.whole == pytest.approx(cut.TO_CUT + cut.BEHIND)
    # an image takes 0.251 seconds with two steps and their like, 0.3 with 98 more
    assert cut.steps == [(1, 2), (1, 2), (1, 2), (4, 2), (4, 8)]
    pace = estimation._measure(cut, np.zeros((70, 8, 8, 3), np.float32), step=0.1)
    assert pace.steps == 11
    assert cut.steps[5:] == [(1, 100)] * 3 + [(4, 100), (4, 400)]


def test_an_estimate_is_of_the_images_that_are_left():
    pace = Pace(100, 101, 7, "linear", start=3.0, to_cut=0.2, curve=0.5, whole=0.25)
    one = Estimate("conv", pace, images=1000, passed=400, curves=2, memory=1.5e9)
    assert one.seconds == 3 + 400 * 0.2 + 2 * 1000 * 0.5
    assert one.passes == one.seconds / 250
    assert one.sentence == (
        "About 18 min to come, as long as 4.3 plain passes: 400 images to conv, then 101 steps "
        "with 1000 images; memory up to 1.5 GB. What trains comes on top."
    )


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return as_functional(randomized(lenet(untouched)))


@pytest.fixture
def sets(network) -> dict[str, Images]:
    rng = np.random.default_rng(0)
    shape = network.input_shape[1:]
    return {
        name: Images(
            rng.normal(size=(count, *shape)).astype(np.float32), np.arange(count) % 4, key=name
        )
        for name, count in COUNTS.items()
    }


@pytest.fixture(autouse=True)
def _measured_anew():
    estimation._paces.clear()


@pytest.mark.parametrize(
    ("layers", "name", "tail"),
    [("conv_2", "conv_2", "linear"), (["conv_1", "conv_2"], "2 layers", "segments")],
)
def test_any_cut_is_estimated_and_goes_the_way_that_it_would_have_gone(
    layers, name, tail, network, sets
):
    cut, had = cut_at(network, layers), estimation.peak_memory()
    found = estimate([*activations_of(cut, sets).values()], curves=3)
    assert (found.layer, found.pace.tail) == (name, tail)
    assert (found.images, found.passed, found.curves) == (140, 140, 3)
    maps, *bypass = cut.boundary(sets["valid"].pixels[:1])
    assert found.pace.values == maps.size + sum(tensor.size for tensor in bypass)
    assert found.pace.channels == cut.channels
    assert min(found.pace.to_cut, found.pace.curve, found.pace.whole, found.pace.start) > 0
    assert found.seconds > found.pace.start + 140 * found.pace.to_cut
    assert found.memory > had + 4 * network.count_params()
    channels = np.random.default_rng(1).permutation(cut.channels)
    untouched_cut = activations_of(cut_at(network, layers), sets)
    for name, each in activations_of(cut, sets).items():
        np.testing.assert_array_equal(
            each.predict_steps(channels), untouched_cut[name].predict_steps(channels)
        )


def test_two_heads_are_all_that_is_timed_where_there_are_no_more():
    network = as_functional(randomized(transformer(untouched)))
    pixels = np.random.default_rng(0).random((9, 8, 8, 3), dtype=np.float32)
    at_cut = activations_of(
        cut_at(network, "auto", unit="head"), {"valid": Images(pixels, np.zeros(9, int))}
    )
    pace = estimate([*at_cut.values()]).pace
    assert (pace.channels, pace.steps) == (2, 3)
    assert pace.curve > 0


def lines(capsys) -> list[str]:
    """The announcements that were printed since the last time."""
    text = " ".join(capsys.readouterr().out.split())
    return [f"About{part}" for part in text.split("About")[1:]]


def test_a_long_curve_is_announced_before_and_what_is_kept_is_not(
    network, sets, monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(estimation, "LONG", 0.0)

    def run(channels: list[int], cache: Cache) -> list[str]:
        at_cut = activations_of(cut_at(network, "conv_2"), sets, cache)
        announce(at_cut)
        before = lines(capsys)
        at_cut["valid"].mean()
        ranking = Ranking(np.array(channels), np.zeros(len(channels)))
        announce(at_cut, 1, ranking)
        predict_steps(at_cut, sets, ranking)
        after = lines(capsys)
        assert not (before and after), "told once"
        return before + after

    (all_of_it,) = run([0, 1, 2, 3], Cache(str(tmp_path), 1))
    assert "140 images to conv_2, then" in all_of_it
    (steps,) = run([3, 1, 2, 0], Cache(str(tmp_path), 1))
    assert "images to conv_2" not in steps
    assert "steps with 140 images" in steps
    assert run([3, 1, 2, 0], Cache(str(tmp_path), 1)) == []
    for nowhere in (Cache(), None):
        assert len(run([3, 1, 2, 0], nowhere)) == 1
    monkeypatch.setattr(estimation, "LONG", 30.0)
    assert run([2, 1, 0, 3], Cache()) == [], "it takes less than a second"


def test_only_sets_whose_steps_are_not_kept_are_announced(
    network, sets, monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(estimation, "LONG", 0.0)
    channels = np.array([2, 0, 1])
    at_cut = activations_of(cut_at(network, "conv_2"), sets, Cache(str(tmp_path), 1))
    for each in at_cut.values():
        list(each._boundary_batches())
    at_cut["test"].predict_steps(channels)
    announce(at_cut, 1, Ranking(channels, np.zeros(3)))
    (told,) = lines(capsys)
    assert "with 90 images" in told
