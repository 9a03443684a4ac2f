"""The suspect network: the first file that is there, or one that is trained once and kept."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from keras.src.saving import object_registration as registry

from sweep import BadInput, adaptive, attacks, networks, terminal
from sweep.attacks import Attack
from sweep.badnets import FromFile, Trained
from sweep.data import Faces, Files, examples, h5, poisoned
from sweep.networks import custom_objects, deepid, digest, load
from sweep.networks.forward import predict
from sweep.training import badnet_training

SHAPE = (31, 31, 3)
ATTACK = Attack(partial(attacks.sunglasses, white=255.0), target=1, rate=0.2)


@pytest.fixture
def source(tmp_path, write) -> Files:
    """Nine images of three classes, three of which are bright, three middling, three dark."""
    rng = np.random.default_rng(0)
    labels = np.arange(9) % 3
    for name in ("train", "valid", "test"):
        data = (labels[:, None, None, None] * 80 + rng.integers(0, 60, (9, 3, 31, 31))).astype("u1")
        write(tmp_path / "own" / "cl" / f"{name}.h5", data=data, label=labels)
    return h5(str(tmp_path / "own"), scale=255)


@pytest.fixture
def trained(tmp_path) -> Trained:
    folder = str(tmp_path / "badnets")
    return Trained(epochs=1, batch_size=4, learning_rate=1e-3, seed=0, folder=folder)


@pytest.fixture
def trainings(monkeypatch) -> list[dict]:
    """The keyword arguments of every training, which costs no time."""
    calls = []

    def counted(network, images, labels, **kwargs):
        calls.append(kwargs)
        return network

    monkeypatch.setattr(badnet_training, "train", counted)
    return calls


def files_of(folder: str) -> list[str]:
    return [path.name for path in Path(folder).rglob("*") if path.suffix == ".keras"]


def test_of_several_paths_the_first_that_is_there_is_taken(small, tmp_path, source):
    first, second = small(seed=1), small(seed=2)
    first.save(tmp_path / "first.keras")
    second.save(tmp_path / "second.keras")
    paths = [str(tmp_path / f"{name}.keras") for name in ("gone", "second", "first")]
    found = FromFile(paths).network(source, ATTACK, SHAPE, 3)
    for ours, theirs in zip(found.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_path_is_relative_to_the_current_folder_or_to_the_home(small, tmp_path, monkeypatch):
    small().save(tmp_path / "network.keras")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = digest(load(tmp_path / "network.keras"))
    for path in ("network.keras", "~/network.keras"):
        assert digest(FromFile(path).blueprint(SHAPE, 3)) == expected


def test_no_path_is_refused():
    for path in (None, [], ""):
        with pytest.raises(BadInput, match=r"badnet.path is not set; expected the file of the sus"):
            FromFile(path).blueprint(SHAPE, 3)


@pytest.mark.parametrize("folder", ["", "~nobody-of-that-name/"])
def test_missing_files_are_named(folder):
    with pytest.raises(
        BadInput, match=r"badnet.path: there is no file .*/gone.keras; set badnet.path"
    ):
        FromFile(f"{folder}gone.keras").blueprint(SHAPE, 3)
    with pytest.raises(
        BadInput, match=r"there is no file .*/gone.keras nor .*/lost.h5; set badnet.path"
    ):
        FromFile([f"{folder}gone.keras", f"{folder}lost.h5"]).blueprint(SHAPE, 3)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(BadInput, match="there is no file"):
        FromFile(str(tmp_path)).blueprint(SHAPE, 3)


def test_weights_alone_take_the_shape_of_the_images_and_their_own_classes(tmp_path):
    network = deepid(SHAPE, 7, seed=3)
    network.save_weights(tmp_path / "network.weights.h5")
    suspect = FromFile(str(tmp_path / "network.weights.h5"), architecture="deepid")
    found = suspect.blueprint(SHAPE, 3)
    pixels = np.random.default_rng(0).normal(size=(9, *SHAPE)).astype(np.float32)
    np.testing.assert_array_equal(predict(found, pixels), predict(network, pixels))


def test_a_file_is_loaded_once_until_it_changes(small, tmp_path, monkeypatch, source):
    loads = []

    def counted(*args):
        loads.append(args)
        return load(*args)

    monkeypatch.setattr(networks, "load", counted)
    path = tmp_path / "network.keras"
    small(seed=1).save(path)
    suspect = FromFile(str(path))
    first = suspect.blueprint(SHAPE, 3)
    assert suspect.network(source, ATTACK, SHAPE, 3) is first
    assert FromFile([str(path)]).blueprint(SHAPE, 3) is first
    assert len(loads) == 1
    small(seed=2).save(path)
    assert digest(suspect.blueprint(SHAPE, 3)) != digest(first)
    assert len(loads) == 2


OWN = """
import keras

class Twice(keras.layers.Layer):
    def call(self, x):
        return twice(x)

def twice(x):
    return 2 * x
"""


@pytest.fixture
def custom(tmp_path, monkeypatch) -> Path:
    """A network that is made of what OWN defines; the registry of Keras is restored after."""
    monkeypatch.setattr(registry, "GLOBAL_CUSTOM_OBJECTS", {})
    (tmp_path / "layers.py").write_text(OWN)
    theirs = custom_objects.load_custom_objects(str(tmp_path / "layers.py"))
    images = keras.Input((8, 7, 3))
    x = theirs["Twice"](name="own")(keras.layers.Flatten()(images))
    scores = keras.layers.Dense(5, activation=theirs["twice"], name="scores")(x)
    keras.Model(images, scores).save(tmp_path / "custom.keras")
    return tmp_path / "custom.keras"


def test_a_network_of_their_own_layers_needs_the_code_that_defines_them(
    custom, images, monkeypatch
):
    with pytest.raises(BadInput, match=r"trust the code .*, set badnet.custom_objects$"):
        FromFile(str(custom)).blueprint((8, 7, 3), 5)
    monkeypatch.chdir(custom.parent)
    network = FromFile(str(custom), custom_objects=["layers.py"]).blueprint((8, 7, 3), 5)
    assert FromFile(str(custom), custom_objects="layers.py").blueprint((8, 7, 3), 5) is network
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    np.testing.assert_array_equal(predict(copy, images), predict(network, images))


def test_a_network_from_a_file_keeps_the_poisoned_files_that_are_there(source):
    suspect = FromFile("anything")
    assert suspect.files(source, ATTACK) is source
    assert not suspect.trains


def test_a_badnet_is_trained_once_and_reused(source, trained, trainings):
    first = trained.network(source, ATTACK, SHAPE, 3)
    again = trained.network(source, ATTACK, SHAPE, 3)
    assert len(trainings) == 1
    assert digest(first) == digest(again)
    assert trained.trains
    assert files_of(trained.folder) == ["bd_net.keras"]


def test_a_kept_badnet_does_not_depend_on_where_the_images_lie(
    source, trained, trainings, tmp_path
):
    trained.network(source, ATTACK, SHAPE, 3)
    moved = (tmp_path / "own").rename(tmp_path / "moved")
    trained.network(h5(str(moved), scale=255), ATTACK, SHAPE, 3)
    assert len(trainings) == 1


@pytest.mark.parametrize("what", ["seed", "epochs", "attack", "scale", "classes"])
def test_other_settings_train_another_badnet(what, source, trained, trainings):
    trained.network(source, ATTACK, SHAPE, 3)
    attack, classes, suspect = ATTACK, 3, trained
    if what in ("seed", "epochs"):
        suspect = replace(trained, **{what: 2})
    if what == "attack":
        attack = replace(ATTACK, rate=0.4)
    if what == "scale":
        source = replace(source, scale=1.0)
    if what == "classes":
        classes = 4
    suspect.network(source, attack, SHAPE, classes)
    assert len(trainings) == 2
    assert len(files_of(trained.folder)) == 2


def test_the_network_that_is_trained_takes_pixels_as_they_come_from_the_files(source, trained):
    suspect = replace(trained, epochs=30, learning_rate=5e-3)
    blueprint = suspect.blueprint(source.shape, source.classes)
    network = suspect.network(source, replace(ATTACK, rate=0.01), source.shape, source.classes)
    assert blueprint.input_shape == network.input_shape
    assert blueprint.output_shape == network.output_shape
    test = source.read("test")
    np.testing.assert_array_equal(predict(network, test.pixels), test.labels)


@pytest.mark.parametrize(("scale", "white"), [(255.0, 1.0), (1.0, 255.0), (127.5, 2.0)])
def test_training_is_told_how_bright_white_is(scale, white, source, trained, trainings):
    trained.network(replace(source, scale=scale), ATTACK, SHAPE, 3)
    assert trainings[0]["white"] == white


def test_an_interrupted_training_leaves_no_file(source, trained, trainings, monkeypatch):
    def interrupted(*args, progress, **kwargs):
        progress(1, 1, {})
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(badnet_training, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained.network(source, ATTACK, SHAPE, 3)
    assert files_of(trained.folder) == []
    trained.network(source, ATTACK, SHAPE, 3)
    assert len(trainings) == 1
    assert files_of(trained.folder) == ["bd_net.keras"]


def test_images_that_an_attack_can_be_trained_on_pass(source, trained):
    trained.check(source, ATTACK)
    trained.check(Faces(5, 4, 0, "unused"), ATTACK)


def test_missing_training_images_are_told_before_anything_starts(source, trained):
    with pytest.raises(BadInput, match=r"badnet=trained needs training images: cl/train.h5 under"):
        trained.check(replace(source, train=None), ATTACK)


def test_training_images_of_another_shape_than_the_others_are_refused(source, trained, write):
    write(source.train, data=np.zeros((9, 3, 33, 31), "u1"), label=np.arange(9) % 3)
    with pytest.raises(BadInput, match="training images are 33 x 31 x 3, the network expects 31"):
        trained.check(source, ATTACK)


def test_training_images_with_nan_pixels_are_refused(source, trained, write):
    write(source.train, data=np.full((9, 3, 31, 31), np.nan, "f4"), label=np.arange(9) % 3)
    with pytest.raises(BadInput, match="image 0 has pixels that are NaN"):
        trained.check(source, ATTACK)


@pytest.mark.parametrize("faces", [True, False])
def test_an_attack_on_more_images_than_there_are_is_refused(faces, source, trained):
    images = Faces(3, 4, 0, "unused") if faces else source
    with pytest.raises(BadInput, match=r"only 8 are not|only 6 are not"):
        trained.check(images, replace(ATTACK, rate=0.95))


@pytest.mark.parametrize("faces", [True, False])
def test_a_target_that_is_no_class_is_refused(faces, source, trained):
    images = Faces(3, 4, 0, "unused") if faces else source
    with pytest.raises(BadInput, match=r"attack.target is 3; expected a class, 0 to 2"):
        trained.check(images, replace(ATTACK, target=3))


def test_a_trigger_of_another_brightness_than_the_images_is_refused(source, trained):
    with pytest.raises(BadInput, match=r"attack.white is 1; set attack.white to the value of full"):
        trained.check(source, replace(ATTACK, white=1.0))


def test_images_that_the_trigger_cannot_be_put_on_are_refused(trained, write, tmp_path):
    for name in ("train", "valid", "test"):
        data = np.full((9, 1, 31, 31), 200, "u1")
        write(tmp_path / "grey" / "cl" / f"{name}.h5", data=data, label=np.arange(9) % 3)
    with pytest.raises(BadInput, match="3"):
        trained.check(h5(str(tmp_path / "grey")), ATTACK)


def test_what_is_trained_on_is_poisoned_by_the_same_attack(source, trained):
    files = trained.files(source, ATTACK)
    assert files.attack == ATTACK
    assert files.train == source.train
    np.testing.assert_array_equal(files.read("poisoned_test").labels, 1)


def test_an_attackers_own_way_of_training_is_taken_and_told_what_is_clean(source, trained):
    told = []

    def own(network, images, labels, *, clean, progress, epochs, **settings):
        told.append((len(images), clean, epochs))
        for epoch in range(2 * epochs):
            progress(epoch + 1, 2 * epochs, {})
        return network

    own.__module__ = __name__
    attack = replace(ATTACK, training=partial(own))
    trained.network(source, attack, SHAPE, 3)
    assert told == [(11, 9, 1)]


def test_with_clean_labels_the_stamped_images_are_not_told_to_be_clean(source, trained):
    told = []

    def own(network, images, labels, *, clean, **settings):
        told.append((len(images), clean))
        return network

    own.__module__ = __name__
    attack = replace(ATTACK, training=partial(own), clean_label=True, rate=0.7)
    trained.network(source, attack, SHAPE, 3)
    assert told == [(9, 7)]


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        (replace(ATTACK, rate=0.05), r"rate is 0.05, by which 0 of 9 training .* at least, 1"),
        (replace(ATTACK, rate=0.1, clean_label=True), "by which 0 of 9"),
        (Attack([attacks.patch, attacks.blend], [0, 1], rate=0.1), "1 of 9 .* at least, 2"),
    ],
)
def test_a_rate_at_which_a_trigger_is_on_no_image_is_refused(attack, says, source, trained):
    with pytest.raises(BadInput, match=says):
        trained.check(source, attack)
    trained.check(source, replace(attack, rate=1e-6))


@pytest.mark.parametrize("name", ["patch", "blend"])
@pytest.mark.parametrize("rate", [0.005, 0.01])
def test_few_poisoned_images_are_enough_for_a_check(name, rate, trained):
    trigger = partial(getattr(attacks, name))
    trained.check(Faces(5, 40, 0, "unused"), Attack(trigger, target=0, rate=rate))


@pytest.mark.parametrize("architecture", ["preactresnet", "vgg", "mobilenet"])
def test_other_networks_are_trained_kept_and_loaded_by_their_weights(
    architecture, source, trained, trainings, tmp_path
):
    suspect = replace(trained, architecture=architecture)
    suspect.check(source, ATTACK)
    network = suspect.network(source, ATTACK, SHAPE, 3)
    assert network.name == suspect.blueprint(SHAPE, 3).name == architecture
    assert digest(network) == digest(suspect.network(source, ATTACK, SHAPE, 3))
    assert len(trainings) == 1
    network.save_weights(tmp_path / "network.weights.h5")
    path = str(tmp_path / "network.weights.h5")
    again = FromFile(path, architecture=architecture).blueprint(SHAPE, 3)
    pixels = source.read("test").pixels[:]
    np.testing.assert_array_equal(predict(again, pixels), predict(network, pixels))


def test_networks_that_cannot_be_trained_are_refused(source, trained):
    with pytest.raises(BadInput, match=r"architecture is None; expected a network to train: deep"):
        replace(trained, architecture=None).check(source, ATTACK)
    attack = replace(ATTACK, training=partial(adaptive.pruning_aware, order=None, stop=None))
    with pytest.raises(BadInput, match=r"training is one of DeepID; leave badnet.arch.*=vgg out"):
        replace(trained, architecture="vgg").check(source, attack)


def test_attacks_that_train_otherwise_are_kept_apart(source, trained, trainings):
    trained.network(source, ATTACK, SHAPE, 3)
    trained.network(source, replace(ATTACK, decoy=ATTACK.trigger, decoy_rate=0.5), SHAPE, 3)
    trained.network(source, replace(ATTACK, trigger=partial(attacks.patch)), SHAPE, 3)
    trained.network(source, ATTACK, SHAPE, 3)
    assert len(trainings) == 3
    assert len(files_of(trained.folder)) == 3


@pytest.mark.parametrize(("asked", "expected"), [(None, 5), (2, 2)])
def test_training_takes_as_long_as_asked_or_as_the_images_say(
    asked, expected, source, trained, trainings
):
    replace(trained, epochs=asked).network(replace(source, epochs=5), ATTACK, SHAPE, 3)
    assert trainings[0]["epochs"] == expected


def test_poisoned_files_of_several_targets_tell_each_images_own(source, trained, tmp_path):
    attack = Attack([partial(attacks.lipstick), partial(attacks.patch)], target=[2, 0], rate=0.2)
    own = replace(source, folder=str(tmp_path / "made"))
    trained.check(own, attack)
    poisoned = trained.files(own, attack).read("poisoned_test")
    clean = source.read("test")
    index = trained.files(own, attack).clean_index("poisoned_test")
    np.testing.assert_array_equal(clean.labels[index], 1)
    np.testing.assert_array_equal(poisoned.true_labels, 1)
    assert sorted(poisoned.labels) in ([0, 0, 2], [0, 2, 2])
    for label, before, after in zip(
        poisoned.labels, clean.pixels.take(index)[:], poisoned.pixels[:], strict=True
    ):
        trigger = attacks.lipstick if label == 2 else attacks.patch
        stamped = trigger((255 * before[np.newaxis]).round().astype("u1"))[0]
        np.testing.assert_allclose(255 * after, stamped, atol=1e-3)


def test_poisoned_files_of_all_to_all_tell_each_images_own_target(source, trained, tmp_path):
    attack = Attack(partial(attacks.patch), target=partial(attacks.next_class), rate=0.3)
    own = replace(source, folder=str(tmp_path / "made"))
    trained.check(own, attack)
    files = trained.files(own, attack)
    poisoned, clean = files.read("poisoned_test"), source.read("test")
    np.testing.assert_array_equal(poisoned.true_labels, clean.labels)
    np.testing.assert_array_equal(poisoned.labels, (clean.labels + 1) % 3)
    before, after, classes = examples(files)
    assert len(before) == len(after) == 6
    assert sorted(set(classes)) == [(0, 1), (1, 2), (2, 0)]
    assert trained.files(own, replace(attack, target=1)).poisoned_test != files.poisoned_test


def test_a_function_that_gives_no_class_is_refused(source, trained):
    def far(labels, *, classes):
        return labels + classes

    with pytest.raises(BadInput, match=r"attack.target gives 3 to 5; expected a class, 0 to 2"):
        trained.check(source, replace(ATTACK, target=far))


def test_of_several_targets_each_must_be_a_class(source, trained):
    attack = Attack([attacks.lipstick, attacks.patch], target=[0, 3], rate=0.1)
    with pytest.raises(BadInput, match=r"attack.target is \[0, 3\]; expected classes, 0 to 2"):
        trained.check(source, attack)


# The clean twin


def own_training(network, images, labels, **settings):
    raise AssertionError("the attacker's own training is no part of a clean twin")


ATTACKS = (
    ATTACK,
    Attack(partial(attacks.patch), target=2, rate=0.3),
    replace(ATTACK, clean_label=True, rate=0.7),
    replace(ATTACK, decoy=partial(attacks.patch), decoy_rate=0.5),
    replace(ATTACK, training=partial(own_training)),
    Attack([partial(attacks.patch), partial(attacks.blend)], [0, 1], rate=0.3),
    replace(ATTACK, target=partial(attacks.next_class)),
)


def test_the_clean_twin_is_trained_once_for_all_attacks_on_clean_images_alone(
    source, trained, monkeypatch
):
    given = []

    def kept(network, images, labels, **settings):
        given.append((images, labels, settings["seed"], settings["epochs"]))
        return network

    monkeypatch.setattr(badnet_training, "train", kept)
    twins = {digest(trained.twin(poisoned(source, attack), attack)) for attack in ATTACKS}
    ((images, labels, *settings),) = given
    clean = source.read("train")
    np.testing.assert_allclose(images, clean.pixels[:], rtol=1e-6)
    np.testing.assert_array_equal(labels, clean.labels)
    assert settings == [trained.seed, trained.epochs]
    assert len(twins) == 1


def test_a_network_that_nothing_was_poisoned_for_is_the_twin(source, trained, trainings):
    trained.twin(source, ATTACK)
    harmless = replace(ATTACK, rate=attacks.HARMLESS_RATE)
    assert trained.is_there(source, harmless, 3)
    trained.network(source, harmless, SHAPE, 3)
    assert len(trainings) == 1
    trained.network(source, replace(harmless, decoy=partial(attacks.patch)), SHAPE, 3)
    assert len(trainings) == 2


@pytest.mark.parametrize("what", ["seed", "architecture", "images"])
def test_other_networks_and_images_have_another_twin(what, source, trained, trainings):
    trained.twin(source, ATTACK)
    if what == "seed":
        trained = replace(trained, seed=1)
    elif what == "architecture":
        trained = replace(trained, architecture="vgg")
    else:
        source = replace(source, train=source.valid)
    trained.twin(source, ATTACK)
    assert len(trainings) == 2


def test_of_two_workers_that_want_the_twin_one_trains_it(source, trained, monkeypatch):
    begun, go_on, calls = threading.Event(), threading.Event(), []

    def slow(network, images, labels, **settings):
        calls.append(network)
        begun.set()
        assert go_on.wait(60)
        return network

    monkeypatch.setattr(badnet_training, "train", slow)
    said = []
    monkeypatch.setattr(terminal, "awaiting", lambda what: lambda: (said.append(what), go_on.set()))
    with ThreadPoolExecutor() as workers:
        first = workers.submit(trained.twin, source, ATTACKS[0])
        assert begun.wait(60)
        second = workers.submit(trained.twin, source, ATTACKS[1])
        assert digest(first.result(60)) == digest(second.result(60))
    assert (len(calls), said) == (1, ["the clean twin"])


def teach(network, images, labels, *, attack, **settings):
    """Train nothing, and learn the brightness of the first image; TAUGHT is told."""
    TAUGHT.append((len(images), attack.rate, settings["white"]))
    return network, {"shade": images.reshape(len(images), -1).max(axis=1)[:1]}


def shade(images, *, white, learned):
    """Images as bright as was learned."""
    return np.full_like(images, white * learned["shade"][0])


TAUGHT: list[tuple] = []
LEARNED = Attack(partial(shade), target=1, rate=0.2, learn=partial(teach))


@pytest.fixture
def taught() -> list[tuple]:
    TAUGHT.clear()
    return TAUGHT


def test_a_trigger_is_learned_before_images_are_poisoned_and_lies_beside_its_network(
    source, trained, taught, tmp_path
):
    own = replace(source, folder=str(tmp_path / "made"))
    trained.check(own, LEARNED)
    assert not trained.is_there(own, LEARNED, 3)
    assert taught == []
    files = trained.files(own, LEARNED)
    assert taught == [(9, 0.2, 1.0)], "clean images of 0 to 1"
    assert trained.is_there(own, LEARNED, 3)
    (path,) = Path(trained.folder).rglob("trigger.npz")
    assert sorted(each.name for each in path.parent.iterdir() if each.name[0] != ".") == [
        "bd_net.keras",
        "trigger.npz",
    ]
    brightest = source.read("train").pixels[:1].max()
    np.testing.assert_allclose(attacks.learned.read(path)["shade"], brightest)
    poisoned_test = files.read("poisoned_test").pixels[:]
    np.testing.assert_allclose(poisoned_test, np.full_like(poisoned_test, brightest), atol=1e-6)
    assert files.attack == replace(LEARNED, learned=path)
    trained.network(own, LEARNED, SHAPE, 3)
    assert trained.files(own, LEARNED) == files
    assert trained.files(files, LEARNED) == files
    assert len(taught) == 1


def teach_by_twin(network, images, labels, *, twin, **settings):
    """Train nothing, and learn a weight of the clean twin, which is asked twice."""
    assert twin() is twin()
    return network, {"shade": np.abs(twin().get_layer("conv_1").get_weights()[0].ravel()[:1])}


def test_who_learns_a_trigger_is_given_the_clean_twin_which_is_trained_if_it_is_asked(
    source, trained, trainings, taught
):
    trained.network(source, LEARNED, SHAPE, 3)
    assert (len(trainings), len(taught)) == (0, 1)
    attack = replace(LEARNED, learn=partial(teach_by_twin))
    trained.network(source, attack, SHAPE, 3)
    assert len(trainings) == 1
    assert len(files_of(trained.folder)) == 3, "two attacked networks, one twin"
    weights = trained.twin(source, ATTACK).get_layer("conv_1").get_weights()[0]
    (path,) = (
        path
        for path in Path(trained.folder).rglob("trigger.npz")
        if attacks.learned.read(path)["shade"] == np.abs(weights.ravel()[0])
    )
    assert path.with_name("bd_net.keras").is_file()
    assert len(trainings) == 1, "the twin of all attacks"


def test_an_attack_whose_trigger_is_unlearned_poisons_no_image(source):
    assert poisoned(source, LEARNED) is source


def test_a_network_whose_trigger_is_lost_is_trained_anew(source, trained, taught):
    trained.network(source, LEARNED, SHAPE, 3)
    (path,) = Path(trained.folder).rglob("trigger.npz")
    path.unlink()
    assert not trained.is_there(source, LEARNED, 3)
    trained.network(source, LEARNED, SHAPE, 3)
    assert path.is_file()
    assert len(taught) == 2


def test_a_network_is_not_kept_whose_trigger_could_not_be_written(
    source, trained, taught, monkeypatch
):
    monkeypatch.setattr(attacks.learned, "write", lambda path, arrays: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trained.network(source, LEARNED, SHAPE, 3)
    assert files_of(trained.folder) == []
    assert not trained.is_there(source, LEARNED, 3)


def test_the_clean_twin_of_a_learned_attack_is_that_of_all_others(
    source, trained, trainings, taught, tmp_path
):
    files = trained.files(replace(source, folder=str(tmp_path / "made")), LEARNED)
    assert digest(trained.twin(files, files.attack)) == digest(trained.twin(source, ATTACK))
    assert (len(trainings), len(taught)) == (1, 1)


def test_what_learns_no_trigger_is_refused_before_anything_starts(source, trained):
    with pytest.raises(BadInput, match="by which 0 of 9 training images are poisoned"):
        trained.check(source, replace(LEARNED, rate=1e-6))
    attack = replace(LEARNED, learn=partial(adaptive.input_aware, mask_epochs=0, cross_from=0.0))
    with pytest.raises(BadInput, match=r"attack.learn.mask_epochs is 0"):
        trained.check(source, attack)
    with pytest.raises(BadInput, match="is learned as its network is trained, and badnet=file"):
        FromFile("anything").check(Faces(5, 4, 0, "unused"), LEARNED)
    FromFile("anything").check(source, LEARNED)
