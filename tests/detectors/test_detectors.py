"""What holds for every detector: each image alone, the same each time, nothing changed."""

from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from sweep.detectors import confidence, ibd_psc, scale_up, strip
from sweep.detectors.reference import Reference
from sweep.networks import digest, forward

DETECTORS = [confidence, ibd_psc, scale_up, strip]
CONF = Path(__file__).resolve().parents[2] / "conf" / "detector"


class Sliced:
    """Pixels that are no array, and how many of them are asked for at once."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels, self.most = pixels, 0

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, rows: slice) -> np.ndarray:
        self.most = max(self.most, rows.stop - rows.start)
        return self._pixels[rows]


@pytest.fixture
def made(small, images) -> Reference:
    network = small(activation="softmax")
    labels = forward.predict(network, images)
    return Reference(network, small(seed=1), images, labels)


@pytest.mark.parametrize("detector", DETECTORS)
def test_an_image_has_its_score_whatever_batch_and_company_it_comes_in(detector, made, monkeypatch):
    tested = made.pixels[::-1] * 0.9
    scores = detector(made)(tested)
    assert scores.dtype == np.float64
    assert scores.shape == (len(tested),)
    assert len(np.unique(scores)) > len(tested) / 2
    few = [3, 17, 5]
    np.testing.assert_allclose(detector(made)(tested[few]), scores[few], rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(forward, "MAX_BATCH", 4)
    sliced = Sliced(tested)
    np.testing.assert_allclose(detector(made)(sliced), scores, rtol=1e-4, atol=1e-5)
    assert sliced.most == 4


@pytest.mark.parametrize("detector", DETECTORS)
def test_equal_seeds_give_equal_scores_and_no_network_is_changed(detector, made):
    before = digest(made.badnet), digest(made.repaired)
    scores = detector(made)(made.pixels)
    np.testing.assert_array_equal(detector(made)(made.pixels), scores)
    assert (digest(made.badnet), digest(made.repaired)) == before
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("detector", DETECTORS)
def test_scores_are_finite_where_a_network_is_surer_than_float32_can_say(detector, small, images):
    network = small(activation="softmax")
    last = network.get_layer("scores")
    last.kernel.assign(last.kernel * 1e6)
    labels = forward.predict(network, images)
    scores = detector(Reference(network, network, images, labels))(images)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_network_that_says_the_same_of_all_images_gives_all_the_same_score(
    detector, small, images
):
    network = small()
    network.get_layer("scores").kernel.assign(np.zeros((6, 5)))
    labels = forward.predict(network, images)
    scores = detector(Reference(network, network, images, labels))(images)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores, scores[0])


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_yaml_gives_the_detector_with_its_default_settings(detector, made):
    path = CONF / f"{detector.__name__}.yaml"
    assert path.read_text().startswith("# ")
    built = instantiate(OmegaConf.load(path))
    assert built.func is detector
    assert set(built.keywords) == set(detector.__kwdefaults__ or {})
    np.testing.assert_array_equal(built(made)(made.pixels), detector(made)(made.pixels))
