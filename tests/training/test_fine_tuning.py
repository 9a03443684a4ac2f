"""A network trained further: the best epoch counts, the rate is tried, seeds decide all."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from students import (
    CLASSES,
    Unchanged,
    accuracy,
    changed,
    convolutional,
    equal,
    fine_tuned,
    linear,
    noisy_patterns,
    one_hot,
    weights,
)

from sweep import BadInput
from sweep.networks import digest
from sweep.training.fine_tuning import FineTuner, FineTuning, fine_tune, soft_targets
from sweep.training.trainee import Trainee
from sweep.training.transforms import Augmentation


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_logits_softmax_and_sigmoids_learn_the_same_classes(activation):
    student = fine_tuned(linear(activation=activation), course=FineTuning(6, 16, 6, 0.25, [0.3]))
    assert accuracy(student, noisy_patterns(1)) > 0.9


def test_labels_need_not_be_of_all_classes():
    images, labels = noisy_patterns(0)
    student = fine_tuned(linear(), (images, np.full_like(labels, 3)))
    assert accuracy(student, (images, np.full_like(labels, 3))) == 1


@pytest.mark.parametrize("norm", [False, True])
def test_equal_seeds_give_equal_weights_and_other_seeds_others(norm):
    network = convolutional(norm=norm)
    before = digest(network)
    course = FineTuning(2, 16, 5, 0.25, [1e-3, 1e-2])
    one, same_seed, other = (weights(fine_tuned(network, None, course, s)) for s in (1, 1, 2))
    assert equal(one, same_seed)
    assert not equal(one, other)
    assert digest(network) == before


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
    student = fine_tuned(linear(), course=FineTuning(3, 16, 5, 0.25, [1e-2]))
    assert equal(weights(student), told.weights[best])
    assert not equal(told.weights[0], told.weights[1])


def test_without_patience_the_last_epoch_is_kept_that_has_finite_scores(monkeypatch):
    told = Told(monkeypatch, [0.9, 0.1, 0.5])
    student = fine_tuned(linear(), course=FineTuning(3, 16, None, 0.25, [1e-2]))
    assert not told.left
    assert equal(weights(student), told.weights[2])


def test_patience_ends_it_and_the_progress_adds_up_all_the_same(monkeypatch):
    told, done = Told(monkeypatch, [0.9, 0.1, 0.2, 0.1, 0.1]), []
    course = FineTuning(9, 16, 2, 0.25, [1e-2])
    student = fine_tuned(linear(), course=course, progress=done.append)
    assert told.left == [0.1, 0.1], "two epochs without a better one"
    assert equal(weights(student), told.weights[0])
    assert sum(done) == course.total_epochs == 9


@pytest.mark.parametrize("rates", [[1e-2], [1e-3, 1e-2, 3e-2]])
def test_progress_adds_up_to_what_was_announced(rates):
    course, done = FineTuning(3, 16, 9, 0.25, rates), []
    fine_tuned(linear(), course=course, progress=done.append)
    assert sum(done) == course.total_epochs == 3 + (3 if len(rates) == 3 else 0)


class Noting(Unchanged):
    """Notes each batch that it changes."""

    def __init__(self, network: keras.Model) -> None:
        super().__init__(network)
        self.batches = []

    def draw(self, pixels, labels, rng):
        self.batches.append((pixels, labels))
        return super().draw(pixels, labels, rng)


def learned_by(builder, network: keras.Model, images, course: FineTuning):
    """The trained network, and the transform that `builder` built for it."""
    built = []

    def build(network):
        return built.append(builder(network)) or built[-1]

    student = fine_tune(network, images, course, build, 0)
    (change,) = built
    return student, change


def test_the_images_held_out_are_not_learned():
    images, labels = noisy_patterns(0)
    course = FineTuning(1, 16, 5, 0.25, [1e-2])
    _, change = learned_by(Noting, linear(), (images, labels), course)
    seen = np.concatenate([pixels for pixels, _ in change.batches[-3:]])
    assert len(seen) == 48
    pairs = (np.sort(some.reshape(48, -1), axis=0) for some in (seen, images[:48]))
    np.testing.assert_array_equal(*pairs)


def test_a_change_gets_the_labels_of_its_pixels_and_is_what_is_learned():
    class Blank(Noting):
        def __call__(self, pixels, labels, drawn):
            return tf.zeros_like(pixels)

    images, labels = noisy_patterns(0)
    place = {pixels.tobytes(): label for pixels, label in zip(images, labels, strict=True)}
    network = linear()
    course = FineTuning(2, 16, 5, 0.25, [1e-1])
    student, change = learned_by(Blank, network, (images, labels), course)
    for pixels, given in change.batches:
        assert [place[one.tobytes()] for one in pixels] == given.tolist()
    was, now = (one.get_layer("scores") for one in (network, student))
    assert np.array_equal(was.kernel, now.kernel), "blank images teach no kernel"
    assert not np.array_equal(was.bias, now.bias)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_images_to_split_are_refused_in_a_sentence(count):
    images, labels = noisy_patterns(0)
    with pytest.raises(BadInput, match=f"hold out 20% of {count} clean validation images"):
        fine_tuned(linear(), (images[:count], labels[:count]), FineTuning())


def test_a_few_images_are_enough():
    images, labels = noisy_patterns(0)
    student = fine_tuned(
        convolutional(), (images[:3], labels[:3]), FineTuning(1, 64, 1, 0.2, [1e-3])
    )
    assert np.isfinite(np.concatenate([w.ravel() for w in weights(student)])).all()


def rate_of(monkeypatch, course: FineTuning, network: keras.Model, images=None) -> float:
    """The rate at which the course itself began."""
    rates, train = [], FineTuner._train_epoch

    def noted(tuner, first, last, rng):
        rates.append(first)
        train(tuner, first, last, rng)

    monkeypatch.setattr(FineTuner, "_train_epoch", noted)
    fine_tuned(network, images, course)
    assert rates[: len(course.rates)] == list(course.rates)
    return rates[len(course.rates)]


def test_the_largest_rate_within_the_tolerance_is_taken_and_no_absurd_one(monkeypatch):
    trained = fine_tuned(convolutional(), course=FineTuning(6, 16, 6, 0.25, [0.1]))
    assert accuracy(trained, noisy_patterns(1)) > 0.9
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
    images, labels = noisy_patterns(0)
    network = convolutional(activation="softmax")
    course = FineTuning(1, 16, 5, 0.25, [1e-3, 1e30], tolerance=0.05)
    assert rate_of(monkeypatch, course, network, (images, np.zeros_like(labels))) == 1e-3


def test_a_rate_at_which_nothing_finite_is_left_is_refused():
    with pytest.raises(BadInput, match=r"learning rate of 1e\+30 leaves no finite scores"):
        fine_tuned(convolutional(), course=FineTuning(1, 16, 5, 0.25, [1e30]))


def test_each_rate_starts_with_the_same_network_and_the_change_as_it_was_built():
    class Counting(Unchanged):
        def __init__(self, network):
            super().__init__(network)
            self.variables, self.seen = [tf.Variable(7)], []

        def draw(self, pixels, labels, rng):
            self.seen.append((self.variables[0].numpy(), weights(self.network)))
            return super().draw(pixels, labels, rng)

        def __call__(self, pixels, labels, drawn):
            self.variables[0].assign_add(1)
            return pixels

    course = FineTuning(1, 16, 5, 0.25, [1e-3, 1.0])
    _, change = learned_by(Counting, convolutional(), noisy_patterns(0), course)
    batches = change.seen[1:]  # the first was drawn to know its shape
    assert [number for number, _ in batches] == 3 * [7, 8, 9]
    first = [seen for number, seen in batches if number == 7]
    assert all(equal(first[0], other) for other in first)


def test_a_compiled_step_is_what_changing_and_then_learning_a_batch_is():
    (images, labels), network = noisy_patterns(0), convolutional()
    augmentation, slow, rng = (
        Augmentation(0.2, 0.1),
        Trainee(network),
        np.random.default_rng([0, 1]),
    )
    course, best = FineTuning(3, 20, 9, 0.25, [0.03]), (-1.0, 0.0)
    for epoch in range(3):
        order = rng.permutation(48)
        for start in range(0, 48, 20):
            rows = order[start : start + 20]
            done = (epoch, epoch + 1)
            first, last = (0.03 * (1 + np.cos(np.pi * end / 3)) / 2 for end in done)
            made = changed(augmentation, images[rows], labels[rows], rng)
            slow.train_step(made, one_hot(labels[rows]), first + (last - first) * start / 48)
        score = slow.evaluate((images[48:], labels[48:]))
        if score >= best:
            best, expected = score, weights(slow.network)
    student = fine_tune(network, (images, labels), course, lambda network: augmentation, 0)
    for value, one in zip(weights(student), expected, strict=True):
        np.testing.assert_allclose(value, one, rtol=1e-4, atol=1e-5)


def test_what_a_change_says_of_its_images_is_learned_in_place_of_their_labels():
    class Next(Unchanged):
        def targets(self, pixels, labels, targets, drawn):
            return tf.roll(targets, 1, axis=1)

    pixels, labels = noisy_patterns(0)
    course = FineTuning(8, 16, None, 0.25, [0.1])
    student = fine_tune(convolutional(norm=False), (pixels, labels), course, Next, 0)
    assert accuracy(student, (pixels, (labels + 1) % CLASSES)) > 0.9


def test_without_a_teacher_the_labels_alone_are_wanted():
    pixels, labels = noisy_patterns(0)
    np.testing.assert_array_equal(soft_targets(linear(), (pixels, labels), 0, 2), one_hot(labels))


@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_teacher_says_how_sure_to_be(activation, temperature):
    network, (pixels, labels) = linear(activation=activation), noisy_patterns(0)
    logits = np.asarray(linear()(pixels), np.float64) / temperature
    soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    told = soft_targets(network, (pixels, labels), 0.75, temperature)
    np.testing.assert_allclose(told, 0.25 * one_hot(labels) + 0.75 * soft, atol=1e-5)


def test_a_teacher_without_finite_scores_leaves_the_labels():
    network, images = linear(), noisy_patterns(0)
    network.get_layer("scores").bias.assign([np.nan] * CLASSES)
    np.testing.assert_allclose(soft_targets(network, images, 0.5, 2), one_hot(images[1]))


def test_what_the_teacher_says_is_learned_in_place_of_the_label():
    pixels, labels = noisy_patterns(0)
    teacher = fine_tuned(linear(), (pixels, labels), FineTuning(9, 16, 9, 0.25, [0.3]))
    wrong = (labels + 1) % CLASSES
    course = FineTuning(9, 16, 9, 0.25, [0.3], teacher=1.0, temperature=1.0)
    student = fine_tuned(linear(), (pixels, wrong), course, teacher=teacher)
    heeded = fine_tuned(linear(), (pixels, wrong), FineTuning(9, 16, 9, 0.25, [0.3]))
    assert accuracy(student, (pixels, labels)) > 0.9 > 0.1 > accuracy(heeded, (pixels, labels))
