"""A network trained further: what was pruned stays so, the best epoch counts, seeds decide all."""

import keras
import numpy as np
import pytest
import zoo
from keras import layers
from zoo import CASES, randomized

from sweep import BadInput
from sweep.networks import digest
from sweep.networks.loading import plain
from sweep.pruning import Cut
from sweep.training import fine_tuning, trainee
from sweep.training.fine_tuning import FineTuning, fine_tune, soft_targets
from sweep.training.trainee import Trainee

SHAPE, CLASSES = (8, 8, 1), 4
SHORT = FineTuning(epochs=2, batch_size=16, patience=5, held_out=0.25, rates=[0.3])


def drawn(seed: int, count: int = 64, noise: float = 0.15) -> fine_tuning.Batch:
    """Images of four patterns in noise, in a random order."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(9).uniform(0, 1, (CLASSES, *SHAPE))
    labels = rng.permutation(np.arange(count) % CLASSES)
    pixels = patterns[labels] + rng.normal(scale=noise, size=(count, *SHAPE))
    return pixels.astype(np.float32), labels.astype(np.int64)


def same(network: keras.Model) -> fine_tuning.Transform:
    return lambda pixels, labels, rng: pixels


def linear(**scores) -> keras.Model:
    images = keras.Input(SHAPE)
    x = layers.Flatten()(images)
    keras.utils.set_random_seed(0)
    return keras.Model(images, layers.Dense(CLASSES, name="scores", **scores)(x))


def convolutional(seed: int = 0, activation: str | None = None, norm: bool = True) -> keras.Model:
    keras.utils.set_random_seed(seed)
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(6, 3, name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x) if norm else x
    x = layers.Flatten()(layers.ReLU(name="relu")(x))
    x = layers.Dropout(0.3, name="dropout")(x)
    return keras.Model(images, layers.Dense(CLASSES, activation=activation, name="scores")(x))


def one_unit(activation: str | None) -> keras.Model:
    images = keras.Input(SHAPE)
    x = layers.Dense(8, activation="relu")(layers.Flatten()(images))
    return keras.Model(images, layers.Dense(1, activation=activation)(x))


def taught(network: keras.Model, images=None, course: FineTuning = SHORT, seed: int = 0, **more):
    return fine_tune(network, drawn(0) if images is None else images, course, same, seed, **more)


def exact(labels: np.ndarray) -> np.ndarray:
    return np.eye(CLASSES, dtype=np.float32)[labels]


def accuracy(network: keras.Model, images: fine_tuning.Batch) -> float:
    return float((np.asarray(network(images[0])).argmax(axis=1) == images[1]).mean())


def weights(network: keras.Model) -> list[np.ndarray]:
    return [value.copy() for value in network.get_weights()]


def equal(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return all(np.array_equal(*pair) for pair in zip(some, others, strict=True))


# What was pruned

KINDS = [
    *((zoo.lenet, "zero"), (zoo.normalised, "zero"), (zoo.normalised, "gamma")),
    *((zoo.softplus, "zero"), (zoo.sigmoid, "zero"), (zoo.one_softplus, "zero")),
    *((zoo.depthwise, "zero"), (zoo.separable, "zero"), (zoo.transposed, "zero")),
    *((zoo.residual_sum, "zero"), (zoo.grouped, "zero"), (zoo.long_way, "zero")),
]


@pytest.mark.parametrize(("builder", "semantics"), KINDS)
def test_pruned_channels_stay_pruned_exactly_and_the_others_learn(builder, semantics):
    network = plain(randomized(builder(zoo.untouched)))
    cut = Cut(network, CASES[builder][0], semantics)
    channels = np.array([0, 2])
    pruned = cut.pruned(channels)
    before = weights(pruned)
    course = FineTuning(epochs=2, batch_size=25, patience=5, held_out=0.5, rates=[0.1])
    student = taught(pruned, (zoo.PIXELS, np.arange(50) % 5), course)
    assert equal(before, pruned.get_weights()), "the given network is as it was"
    names = [layer.name for layer in student.layers]
    site = cut.prune_layer if cut.by_weights else f"{cut.prune_layer}_mask"
    assert site in names
    node = student.get_layer(site)
    maps = node.output if len(node._inbound_nodes) == 1 else node._inbound_nodes[1].output_tensors
    maps = np.asarray(keras.Model(student.inputs[0], maps)(zoo.PIXELS))
    value = np.broadcast_to(cut.pruned_value[channels], maps[..., channels].shape)
    np.testing.assert_allclose(maps[..., channels], value, rtol=0, atol=1e-7)
    others = np.delete(maps, channels, axis=-1)
    assert (others.reshape(-1, others.shape[-1]).std(axis=0) > 0).any()
    for variable, was in zip(student.weights, before, strict=True):
        assert np.isfinite(variable.numpy()).all()
        if variable.name == "kernel" and len(variable.shape) == 2:
            assert not np.array_equal(variable.numpy(), was), "what is not pruned learns"


def test_a_pruned_channel_with_slopes_of_its_own_would_come_back_if_it_were_not_held(monkeypatch):
    network = convolutional(norm=False)
    kernel, bias = network.get_layer("conv").get_weights()
    kernel[..., 1], bias[1] = 0, 0.5  # constant, and alive behind the ReLU
    network.get_layer("conv").set_weights([kernel, bias])
    kernel, bias = taught(network).get_layer("conv").get_weights()
    assert not kernel[..., 1].any()
    assert bias[1] == 0.5
    assert kernel[..., 0].any()
    monkeypatch.setattr(trainee, "pruned_weights", lambda network: [])
    kernel, bias = taught(network).get_layer("conv").get_weights()
    assert kernel[..., 1].any()
    assert bias[1] != 0.5


def test_single_zeros_of_a_living_channel_are_free_to_learn():
    network = convolutional(norm=False)
    kernel, bias = network.get_layer("conv").get_weights()
    kernel[..., 1] = bias[1] = 0
    kernel[1, 1, 0, 0] = 0
    network.get_layer("conv").set_weights([kernel, bias])
    kernel, _ = taught(network).get_layer("conv").get_weights()
    assert not kernel[..., 1].any()
    assert kernel[1, 1, 0, 0] != 0


# What learns, and what does not


def test_frozen_layers_of_a_stranger_learn_too():
    network = convolutional()
    network.get_layer("conv").trainable = network.get_layer("norm").trainable = False
    student = taught(network)
    for name in ("conv", "norm"):
        assert not equal(network.get_layer(name).get_weights(), student.get_layer(name).weights)
        assert not network.get_layer(name).trainable


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_one_unit_learns_and_the_two_scores_made_of_it_stay_as_they_are(activation):
    images, labels = drawn(0)
    network = plain(one_unit(activation))
    student = taught(network, (images, labels % 2), FineTuning(4, 16, 5, 0.25, [0.3]))
    (two,) = (layer for layer in student.layers if layer.name == "two_scores")
    assert equal(two.get_weights(), network.get_layer("two_scores").get_weights())
    assert accuracy(student, (images, labels % 2)) > 0.9


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_logits_softmax_and_sigmoids_learn_the_same_classes(activation):
    student = taught(linear(activation=activation), course=FineTuning(6, 16, 6, 0.25, [0.3]))
    assert accuracy(student, drawn(1)) > 0.9


def test_labels_need_not_be_of_all_classes():
    images, labels = drawn(0)
    student = taught(linear(), (images, np.full_like(labels, 3)))
    assert accuracy(student, (images, np.full_like(labels, 3))) == 1


@pytest.mark.parametrize("norm", [False, True])
def test_equal_seeds_give_equal_weights_and_other_seeds_others(norm):
    network = convolutional(norm=norm)
    before = digest(network)
    course = FineTuning(2, 16, 5, 0.25, [1e-3, 1e-2])
    one, same_seed, other = (weights(taught(network, None, course, s)) for s in (1, 1, 2))
    assert equal(one, same_seed)
    assert not equal(one, other)
    assert digest(network) == before


def test_a_network_of_dropouts_learns_the_same_however_often_it_is_loaded(tmp_path):
    convolutional().save(tmp_path / "network.keras")
    loaded = (keras.models.load_model(tmp_path / "network.keras") for _ in range(2))
    assert equal(*(weights(taught(network)) for network in loaded))


def test_a_student_that_starts_anew_has_forgotten_everything():
    images, labels = drawn(0)
    fresh, student = Trainee(convolutional()), Trainee(convolutional())
    for _ in range(3):
        student.train_step(images[::-1], exact(labels), 1e-1)
    student.reset()
    losses = [
        [one.train_step(images, exact(labels), 1e-2) for _ in range(3)] for one in (fresh, student)
    ]
    assert losses[0] == losses[1]
    assert equal(weights(fresh.network), weights(student.network))


def test_batch_statistics_are_learned_and_judged_in_inference():
    network = convolutional()
    student = Trainee(network)
    images, labels = drawn(0)
    mean = network.get_layer("norm").moving_mean.numpy()
    judged = student.evaluate((images, labels))
    assert judged == student.evaluate((images, labels)), "nothing is dropped"
    assert np.array_equal(student.network.get_layer("norm").moving_mean, mean)
    assert judged[0] == pytest.approx(accuracy(network, (images, labels)))
    student.train_step(images, exact(labels), 1e-3)
    assert not np.array_equal(student.network.get_layer("norm").moving_mean, mean)


def test_what_is_judged_is_the_same_in_any_slices(monkeypatch):
    student, images = Trainee(convolutional()), drawn(0, 50)
    whole = student.evaluate(images)
    student._batch_size = 7
    assert student.evaluate(images) == pytest.approx(whole, rel=1e-5)


def test_a_network_that_gives_no_finite_scores_is_right_about_nothing():
    student, (images, _) = Trainee(linear()), drawn(0)
    student.network.get_layer("scores").bias.assign([np.nan] * CLASSES)
    assert student.evaluate((images, np.zeros(len(images), np.int64))) == (0, -np.inf)


# The best epoch, and the end


class Told:
    """What a student is said to be worth after each epoch, and what its weights were."""

    def __init__(self, monkeypatch, shares: list[float]) -> None:
        self.left, self.weights = list(shares), []
        monkeypatch.setattr(Trainee, "evaluate", lambda student, images: self.next(student))

    def next(self, student: Trainee) -> tuple[float, float]:
        self.weights.append(weights(student.network))
        return self.left.pop(0), 0.0


@pytest.mark.parametrize(("shares", "best"), [([0.5, 0.9, 0.1], 1), ([0.5, 0.5, 0.1], 1)])
def test_the_best_epoch_is_kept_and_of_equals_the_last(monkeypatch, shares, best):
    told = Told(monkeypatch, shares)
    student = taught(linear(), course=FineTuning(3, 16, 5, 0.25, [1e-2]))
    assert equal(weights(student), told.weights[best])
    assert not equal(told.weights[0], told.weights[1])


def test_patience_ends_it_and_the_progress_adds_up_all_the_same(monkeypatch):
    told, done = Told(monkeypatch, [0.9, 0.1, 0.2, 0.1, 0.1]), []
    course = FineTuning(9, 16, 2, 0.25, [1e-2])
    student = taught(linear(), course=course, progress=done.append)
    assert told.left == [0.1, 0.1], "two epochs without a better one"
    assert equal(weights(student), told.weights[0])
    assert sum(done) == course.total_epochs == 9


@pytest.mark.parametrize("rates", [[1e-2], [1e-3, 1e-2, 3e-2]])
def test_progress_adds_up_to_what_was_announced(rates):
    course, done = FineTuning(3, 16, 9, 0.25, rates), []
    taught(linear(), course=course, progress=done.append)
    assert sum(done) == course.total_epochs == 3 + (3 if len(rates) == 3 else 0)


def test_the_images_held_out_are_not_learned():
    images, labels = drawn(0)
    learned = []

    def change(network):
        return lambda pixels, labels, rng: learned.append(pixels) or pixels

    fine_tune(linear(), (images, labels), FineTuning(1, 16, 5, 0.25, [1e-2]), change, 0)
    seen = np.concatenate(learned)
    assert len(seen) == 48
    pairs = (np.sort(some.reshape(48, -1), axis=0) for some in (seen, images[:48]))
    np.testing.assert_array_equal(*pairs)


def test_a_change_gets_the_labels_of_its_pixels_and_is_what_is_learned():
    images, labels = drawn(0)
    place = {pixels.tobytes(): label for pixels, label in zip(images, labels, strict=True)}

    def change(network):
        def blank(pixels, labels, rng):
            assert [place[one.tobytes()] for one in pixels] == labels.tolist()
            return np.zeros_like(pixels)

        return blank

    network = linear()
    student = fine_tune(network, (images, labels), FineTuning(2, 16, 5, 0.25, [1e-1]), change, 0)
    was, now = (one.get_layer("scores") for one in (network, student))
    assert np.array_equal(was.kernel, now.kernel), "blank images teach no kernel"
    assert not np.array_equal(was.bias, now.bias)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_images_to_split_are_refused_in_a_sentence(count):
    images, labels = drawn(0)
    with pytest.raises(BadInput, match=f"hold out 20% of {count} clean validation images"):
        taught(linear(), (images[:count], labels[:count]), FineTuning())


def test_a_few_images_are_enough():
    images, labels = drawn(0)
    student = taught(convolutional(), (images[:3], labels[:3]), FineTuning(1, 64, 1, 0.2, [1e-3]))
    assert np.isfinite(np.concatenate([w.ravel() for w in weights(student)])).all()


# The rate


def rate_of(monkeypatch, course: FineTuning, network: keras.Model, images=None) -> float:
    """The rate at which the course itself began."""
    rates = []
    learn = Trainee.train_step

    def noted(student, pixels, wanted, rate):
        rates.append(rate)
        return learn(student, pixels, wanted, rate)

    monkeypatch.setattr(Trainee, "train_step", noted)
    learned = (len(drawn(0)[1]) * 3 // 4 + 15) // 16  # steps an epoch
    taught(network, images, course)
    tried = rates[: learned * len(course.rates) : learned]
    assert tried == list(course.rates)
    return rates[learned * len(course.rates)]


def test_the_largest_rate_within_the_tolerance_is_taken_and_no_absurd_one(monkeypatch):
    trained = taught(convolutional(), course=FineTuning(6, 16, 6, 0.25, [0.1]))
    assert accuracy(trained, drawn(1)) > 0.9
    course = FineTuning(1, 16, 5, 0.25, [1e-3, 1e-2, 100.0], tolerance=0.05)
    assert rate_of(monkeypatch, course, trained) == 1e-2


@pytest.mark.parametrize(
    ("shares", "rate"),
    [([0.9, 0.89, 0.8], 2.0), ([0.5, 0.9, 0.9], 4.0), ([0.9, 0.1, 0.89], 4.0), ([0.9, 0, 0], 1.0)],
)
def test_a_larger_rate_may_cost_the_tolerance_and_no_more(monkeypatch, shares, rate):
    Told(monkeypatch, [*shares, 0])
    course = FineTuning(1, 16, 5, 0.25, [1.0, 2.0, 4.0], tolerance=0.02)
    assert rate_of(monkeypatch, course, linear()) == rate


def test_a_rate_that_breaks_the_network_is_not_taken_where_nearly_all_are_of_one_class(monkeypatch):
    images, labels = drawn(0)
    network = convolutional(activation="softmax")
    course = FineTuning(1, 16, 5, 0.25, [1e-3, 1e30], tolerance=0.05)
    assert rate_of(monkeypatch, course, network, (images, np.zeros_like(labels))) == 1e-3


def test_a_rate_at_which_nothing_finite_is_left_is_refused():
    with pytest.raises(BadInput, match=r"learning rate of 1e\+30 leaves no finite scores"):
        taught(convolutional(), course=FineTuning(1, 16, 5, 0.25, [1e30]))


def test_each_rate_starts_with_the_same_network_and_a_change_of_its_own():
    made = []

    def change(network):
        made.append(weights(network))
        return lambda pixels, labels, rng: pixels

    fine_tune(convolutional(), drawn(0), FineTuning(1, 16, 5, 0.25, [1e-3, 1.0]), change, 0)
    assert len(made) == 3
    assert all(equal(made[0], other) for other in made)


# What is to be said of images


def test_without_a_teacher_the_labels_alone_are_wanted():
    pixels, labels = drawn(0)
    np.testing.assert_array_equal(soft_targets(linear(), (pixels, labels), 0, 2), exact(labels))


@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_teacher_says_how_sure_to_be(activation, temperature):
    network, (pixels, labels) = linear(activation=activation), drawn(0)
    logits = np.asarray(linear()(pixels), np.float64) / temperature
    soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    told = soft_targets(network, (pixels, labels), 0.75, temperature)
    np.testing.assert_allclose(told, 0.25 * exact(labels) + 0.75 * soft, atol=1e-5)


def test_a_teacher_without_finite_scores_leaves_the_labels():
    network, images = linear(), drawn(0)
    network.get_layer("scores").bias.assign([np.nan] * CLASSES)
    np.testing.assert_allclose(soft_targets(network, images, 0.5, 2), exact(images[1]))


def test_what_the_teacher_says_is_learned_in_place_of_the_label():
    pixels, labels = drawn(0)
    teacher = taught(linear(), (pixels, labels), FineTuning(9, 16, 9, 0.25, [0.3]))
    wrong = (labels + 1) % CLASSES
    course = FineTuning(9, 16, 9, 0.25, [0.3], teacher=1.0, temperature=1.0)
    student = taught(linear(), (pixels, wrong), course, teacher=teacher)
    heeded = taught(linear(), (pixels, wrong), FineTuning(9, 16, 9, 0.25, [0.3]))
    assert accuracy(student, (pixels, labels)) > 0.9 > 0.1 > accuracy(heeded, (pixels, labels))
