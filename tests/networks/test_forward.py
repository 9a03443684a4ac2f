"""Networks on many images: every image once, at most so many at a time, and only finite scores."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from keras import layers
from zoo import randomized

from sweep import BadInput
from sweep.data import Images
from sweep.networks import forward
from sweep.networks.forward import Classifier, batch_size, batches, compiled, predict, tensor_spec
from sweep.pruning import Activations, Cut
from sweep.pruning.incremental import steps

GPUS = tf.config.list_physical_devices("GPU")
SCORES = [tf.TensorSpec((None, 4), tf.float32)]


@pytest.fixture(autouse=True)
def _gpu(request):
    if request.node.get_closest_marker("gpu") and not GPUS:
        pytest.skip("there is no GPU here")


def scores_as_they_are(scores: tf.Tensor) -> tf.Tensor:
    return scores


def tensors(*shapes: tuple[int | None, ...]) -> list[keras.KerasTensor]:
    return [keras.KerasTensor((None, *shape)) for shape in shapes]


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(4,)], 1024),  # never more
        ([()], 1024),
        ([(32, 32, 16)], 1024),  # 64 kB: just so many in 64 MiB
        ([(32, 32, 17)], 512),  # a power of two
        ([(4,), (224, 224, 64), (7,)], 4),  # 12.8 MB: the largest counts, not the sum
        ([(4096, 4096)], 1),  # 64 MiB
        ([(4096, 4097)], 1),  # more: one at least
        ([(None, None, 3)], 64),  # taken for 224: 602 kB
        ([(None, 64)], 1024),
    ],
)
def test_as_many_images_as_keep_the_largest_tensor_in_memory(shapes, expected, monkeypatch):
    monkeypatch.setattr(forward, "MAX_TENSOR_BYTES", 2**26)
    assert batch_size(tensors(*shapes)) == expected


@given(st.lists(st.lists(st.integers(1, 3000), max_size=3), min_size=1, max_size=4))
def test_there_is_at_least_one_image_a_pass_and_a_power_of_two(shapes):
    rows = batch_size(tensors(*map(tuple, shapes)))
    largest = max(4 * np.prod(shape, dtype=object) for shape in shapes)
    assert 1 <= rows <= forward.MAX_BATCH
    assert rows & (rows - 1) == 0
    assert rows == 1 or rows * largest <= forward.MAX_TENSOR_BYTES
    assert rows == forward.MAX_BATCH or 2 * rows * largest > forward.MAX_TENSOR_BYTES


@pytest.mark.parametrize("most", [1, 16, 100])
def test_there_are_never_more_than_the_most(most, monkeypatch):
    monkeypatch.setattr(forward, "MAX_BATCH", most)
    assert batch_size(tensors((3,))) == {1: 1, 16: 16, 100: 64}[most]


@given(st.integers(0, 300), st.integers(1, 400))
def test_batches_cover_all_rows_once_and_in_order(count, rows):
    slices = list(batches(count, rows))
    covered = [row for some in slices for row in range(count)[some]]
    assert covered == list(range(count))
    sizes = [some.stop - some.start for some in slices]
    assert all(size == rows for size in sizes[:-1])
    assert all(1 <= size <= rows for size in sizes)


def test_a_compiled_function_takes_arrays_and_batches_of_any_size():
    double = compiled(lambda x: 2 * x, [tensor_spec(tensors((3,))[0])])
    for count in (0, 1, 7):
        x = np.arange(3.0 * count, dtype=np.float32).reshape(count, 3)
        np.testing.assert_array_equal(double(x), 2 * x)
        np.testing.assert_array_equal(double(tf.constant(x)), 2 * x)


def test_a_function_is_traced_once_whatever_the_sizes():
    traced = []

    def scores(x: tf.Tensor) -> tf.Tensor:
        traced.append(x)
        return x

    classes = Classifier(scores, SCORES)
    for count in (1, 5, 9):
        classes(np.ones((count, 4), np.float32))
    assert len(traced) == 1
    for rows in ([0], [1, 1, 0], []):
        classes(np.ones((5, 4), np.float32), rows=np.array(rows, dtype=np.int64))
    assert len(traced) == 2


@pytest.mark.parametrize("rows", [[3, 0, 7], [5], [2, 2, 2, 9], list(range(10)), []])
def test_classes_of_some_rows_are_those_picked_of_all(rows):
    rng, rows = np.random.default_rng(0), np.array(rows, dtype=np.int64)
    left, right = rng.normal(size=(2, 10, 4)).astype(np.float32)
    weights = rng.normal(size=(4,)).astype(np.float32)
    classes = Classifier(lambda w, x, y: w * x + y, SCORES * 2, [tf.TensorSpec((4,), tf.float32)])
    everything = classes(weights, left, right)
    np.testing.assert_array_equal(everything, (weights * left + right).argmax(axis=1))
    assert everything.dtype == np.int64
    np.testing.assert_array_equal(classes(weights, left, right, rows=rows), everything[rows])
    x_alone = Classifier(scores_as_they_are, SCORES)
    np.testing.assert_array_equal(x_alone(left, rows=rows), left.argmax(axis=1)[rows])


def test_of_equal_scores_the_first_class_wins():
    classes = Classifier(scores_as_they_are, SCORES)
    assert classes(np.float32([[1, 2, 2, 0], [0, 0, 0, 0]])).tolist() == [1, 0]


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 9, 16, 43, 1000])
def test_one_nan_or_infinite_score_of_one_image_is_refused_wherever_it_stands(count):
    classes = Classifier(scores_as_they_are, [tf.TensorSpec((None, count), tf.float32)])
    rng = np.random.default_rng(0)
    for bad in (np.nan, np.inf):
        for place in {0, 1, count // 2, count - 2, count - 1}:
            for image in (0, 3, 6):
                scores = rng.normal(size=(7, count)).astype(np.float32)
                classes(scores)
                scores[image, place] = bad
                with pytest.raises(BadInput, match=r"NaN or infinite; expected finite ones"):
                    classes(scores)
                with pytest.raises(BadInput, match=r"NaN or infinite"):
                    classes(scores, rows=np.array([image]))
                assert len(classes(scores, rows=np.setdiff1d(np.arange(7), image))) == 6


def test_scores_that_are_all_minus_infinity_are_refused_and_a_single_one_is_not():
    """A logarithm of a probability that is 0 is minus infinity; it is not the highest."""
    classes = Classifier(scores_as_they_are, SCORES)
    scores = np.float32([[0, 1, 2, 3], [-np.inf, 1, 0, -np.inf]])
    assert classes(scores).tolist() == [3, 1]
    scores[1] = -np.inf
    with pytest.raises(BadInput, match=r"NaN or infinite"):
        classes(scores)


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_predicted_classes_are_what_keras_predicts(activation, small, images, monkeypatch):
    network = small(activation=activation)
    expected = network.predict(images, verbose=0).argmax(axis=1)
    assert len(np.unique(expected)) > 1
    for most in (1024, 16, 1):
        monkeypatch.setattr(forward, "MAX_BATCH", most)
        told = predict(network, images)
        np.testing.assert_array_equal(told, expected)
        assert told.dtype == np.int64


def test_layers_are_called_as_in_inference(images):
    x = pixels = keras.Input((8, 7, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(x))
    x = layers.Flatten()(layers.Dropout(0.9)(layers.GaussianNoise(1.0)(x)))
    network = randomized(keras.Model(pixels, layers.Dense(5)(x)))
    before = network.get_weights()
    expected = np.asarray(network(images, training=False)).argmax(axis=1)
    for _ in range(2):
        np.testing.assert_array_equal(predict(network, images), expected)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_network_that_gives_nan_is_refused(small, images):
    network = small()
    network.get_layer("scores").bias.assign([0, 0, np.nan, 0, 0])
    with pytest.raises(BadInput, match=r"NaN or infinite"):
        predict(network, images)


@pytest.mark.gpu
def test_of_a_gpus_memory_as_much_is_taken_as_is_needed():
    for gpu in GPUS:
        assert tf.config.experimental.get_memory_growth(gpu)
    tf.zeros(1)  # and it still is, once the device has been used
    assert all(map(tf.config.experimental.get_memory_growth, GPUS))


@pytest.mark.gpu
def test_a_gpu_that_is_in_use_already_does_not_stop_the_import():
    program = "import tensorflow as tf\ntf.zeros(1)\nimport sweep.forward"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.gpu
def test_one_nan_is_refused_on_a_gpu_too():
    test_one_nan_or_infinite_score_of_one_image_is_refused_wherever_it_stands(43)


@pytest.mark.gpu
@pytest.mark.parametrize("largest", [steps.LARGEST, 0], ids=["linear", "masked"])
def test_on_a_gpu_answers_are_those_of_the_cpu_but_for_ties(largest, small, images, monkeypatch):
    monkeypatch.setattr(steps, "LARGEST", largest)
    channels = np.random.default_rng(2).permutation(6)
    told, scores = {}, {}
    rounded = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)  # float32, as on the CPU
    try:
        for device in ("/CPU:0", "/GPU:0"):
            with tf.device(device):  # weights too are where they are made
                network = small()
                assert all(w.value.device.endswith(device[1:]) for w in network.weights)
                cut = Cut(network, "conv_2")
                at_cut = Activations(cut, Images(images, np.zeros(len(images), dtype=np.int64)))
                told[device] = at_cut.predict_steps(channels)
                pruned = [cut.pruned(channels[:step]) for step in range(7)]
                scores[device] = np.stack([np.asarray(network(images)) for network in pruned])
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(rounded)
    cpu, gpu = told.values()
    np.testing.assert_allclose(*scores.values(), rtol=1e-3, atol=1e-3)
    slow = scores["/CPU:0"]
    given = [np.take_along_axis(slow, answers[..., None], axis=2) for answers in (cpu, gpu)]
    assert len(np.unique(cpu)) > 1
    assert np.abs(given[0] - given[1]).max() < 1e-3  # 0 where they answer the same
    assert (cpu == gpu).mean() > 0.95
