"""Heads of attention, pruned: against attention written out, and pruned copies run whole."""

from functools import partial

import keras
import numpy as np
import pytest
from keras import layers, ops
from zoo import first_token, lenet, randomized, transformer, untouched

from sweep import BadInput, NotApplicable
from sweep.cache import Cache
from sweep.data import Images
from sweep.networks import clone, digest, load, shrunk
from sweep.networks.forward import predict
from sweep.orders import l1_norm, mean_activation
from sweep.pruning import Activations, LayerActivations, cut_at, rank
from sweep.pruning.heads import HeadCut, with_heads
from sweep.training.trainee import Trainee

PIXELS = np.random.default_rng(1).normal(size=(80, 8, 8, 3)).astype(np.float32)
IMAGES = Images(PIXELS, np.zeros(80, np.int64))


def special() -> keras.Model:
    """Attention of 3 heads on a map, with all that a call may have; and one layer called twice."""
    images = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 4, strides=4, name="patches")(images)
    inside = layers.MultiHeadAttention(
        3, 4, value_dim=2, dropout=0.5, use_bias=False, attention_axes=(1, 2), name="of_map"
    )
    x = layers.Reshape((-1, 6))(layers.Add()([x, inside(x, x)]))
    mask = ops.stack([x[:, 0, 0] > 0, *[x[:, 0, 0] < 9] * 15], axis=-1)
    causal = layers.MultiHeadAttention(4, 3, use_gate=True, output_shape=(2, 3), name="causal")
    y = causal(x, x, x, attention_mask=ops.reshape(mask, (-1, 4, 4)), use_causal_mask=True)
    x = layers.Add()([x, layers.Reshape((-1, 6))(y)])
    scored, scores = layers.MultiHeadAttention(2, 3, name="scored")(
        x, x, return_attention_scores=True
    )
    again = layers.MultiHeadAttention(2, 3, name="again")
    x = layers.Add()([scored, again(again(x, x), x)])
    x = layers.Concatenate()([layers.Flatten()(x), layers.Flatten()(scores)])
    return keras.Model(images, layers.Dense(5, name="scores")(x))


class Written(layers.Layer):
    """What an `attention` of x by itself gives with the heads that are `kept` alone."""

    attention: layers.MultiHeadAttention
    kept: np.ndarray

    def call(self, x):
        of, layer = ops.einsum, self.attention
        query, key, value = (
            of("ntf,fhs->nths", x, part.kernel) + part.bias
            for part in (layer.query_dense, layer.key_dense, layer.value_dense)
        )
        shares = ops.softmax(of("nths,nuhs->nhtu", query, key) / layer.key_dim**0.5)
        contexts = of("nhtu,nuhs->nths", shares, value) * self.kept[:, None]
        return of("nths,hsf->ntf", contexts, layer.output_dense.kernel) + layer.output_dense.bias


def masked(network: keras.Model, pruned: dict[str, list[int]]) -> np.ndarray:
    """The slow way: scores with attention written out, without the heads of some layers."""

    def call_layer(layer, *args, **kwargs):
        if layer.name not in pruned:
            return layer(*args, **kwargs)
        layer.build(args[0].shape, args[1].shape)  # for its state to be copied
        written = Written(name=f"{layer.name}_written")
        written.attention = network.get_layer(layer.name)
        kept = np.isin(np.arange(layer.num_heads), pruned[layer.name], invert=True)
        written.kept = kept.astype(np.float32)
        return written(args[0])

    return np.asarray(clone(network, call_function=call_layer)(PIXELS))


@pytest.mark.parametrize("layer", ["attention_1", "attention_2"])
@pytest.mark.parametrize(
    "builder", [transformer, first_token], ids=lambda builder: builder.__name__
)
def test_every_step_is_what_attention_written_out_gives(builder, layer, tmp_path):
    network = randomized(builder(untouched))
    before = digest(network)
    cut = HeadCut(network, layer)
    assert (cut.channels, cut.layer, cut.prune_layer) == (2, layer, layer)
    told = Activations(cut, IMAGES).predict_steps(np.array([1, 0]))
    for step in range(3):
        slow = masked(network, {layer: [1, 0][:step]})
        np.testing.assert_array_equal(told[step], slow.argmax(axis=1))
        pruned = cut.pruned([1, 0][:step])
        np.testing.assert_allclose(pruned(PIXELS), slow, rtol=1e-4, atol=1e-5)
        pruned.save(tmp_path / "pruned.keras")
        np.testing.assert_allclose(load(tmp_path / "pruned.keras")(PIXELS), slow, 1e-4, 1e-5)
    assert len(np.unique(told, axis=0)) == 3, "this case shows nothing"
    assert digest(network) == before


def test_heads_of_several_layers_go_in_one_curve():
    network = randomized(transformer(untouched))
    joint = cut_at(network, "all", unit="head")
    assert (joint.layer, joint.channels) == ("attention_1 attention_2", 4)
    channels = np.array([2, 1, 3, 0])
    told = Activations(joint, IMAGES).predict_steps(channels)
    assert len(np.unique(told, axis=0)) > 2, "this case shows nothing"
    for step in range(5):
        first, second = joint.split_by_layer(channels[:step])
        slow = masked(network, {"attention_1": first, "attention_2": second})
        np.testing.assert_array_equal(told[step], slow.argmax(axis=1))
        np.testing.assert_allclose(
            joint.pruned(channels[:step])(PIXELS), slow, rtol=1e-4, atol=1e-5
        )


def test_whatever_attention_is_called_with_the_view_of_the_network_says_the_same():
    network = randomized(special())
    view = with_heads(network)
    np.testing.assert_allclose(view(PIXELS), network(PIXELS), rtol=1e-4, atol=1e-3)
    for layer, shape in (("of_map", (2, 2, 2, 3)), ("causal", (4, 3, 4))):
        cut = HeadCut(network, layer)
        assert cut.maps(PIXELS)[0].shape == (80, *shape)
        channels = np.random.default_rng(2).permutation(cut.channels)
        told = Activations(cut, IMAGES).predict_steps(channels)
        assert len(np.unique(told, axis=0)) > 2, "this case shows nothing"
        for step in range(cut.channels + 1):
            pruned = cut.pruned(channels[:step])
            np.testing.assert_array_equal(told[step], predict(pruned, PIXELS))


def test_all_passes_over_attention_that_cannot_be_cut():
    network = special()
    assert cut_at(network, "all", unit="head").layer == "of_map causal"
    with pytest.raises(BadInput, match="'again', which the network uses 2 times"):
        HeadCut(network)
    with pytest.raises(BadInput, match="'scored' of 2 outputs"):
        HeadCut(network, "scored")


def test_auto_is_the_last_attention_and_its_heads_are_no_channels_of_its_output():
    network = randomized(transformer(untouched))
    cache = Cache()
    heads, channels = cut_at(network, unit="head"), cut_at(network, "attention_2")
    assert heads.layer == channels.layer
    assert (heads.channels, channels.channels) == (2, 6)
    named = [
        LayerActivations(cut, Images(PIXELS, IMAGES.labels, key="a"), cache).name
        for cut in (heads, channels)
    ]
    assert named[0] != named[1]


def test_orders_of_maps_rank_heads_and_those_of_weights_do_not_apply():
    valid = LayerActivations(HeadCut(randomized(special()), "causal"), IMAGES, ranked=True)
    how = {"scope": "global", "seed": 0, "pairs": tuple}
    once, anew = (
        rank(partial(mean_activation), valid, recompute=recompute, **how)
        for recompute in (False, True)
    )
    means = valid.cut.maps(PIXELS)[0].mean(axis=(0, 1, 2))
    np.testing.assert_array_equal(once.channels, np.argsort(means))
    np.testing.assert_array_equal(anew.channels, once.channels)  # no head changes another's context
    with pytest.raises(NotApplicable, match="needs the weights of one convolution or Dense layer"):
        rank(partial(l1_norm), valid, recompute=False, **how)


def test_what_has_no_heads_is_refused():
    network = transformer(untouched)
    with pytest.raises(BadInput, match=r"'hidden_2', and .* expected .*: attention_1, attention_2"):
        cut_at(network, "hidden_2", unit="head")
    with pytest.raises(BadInput, match="'attention_9', which the network does not have"):
        cut_at(network, "attention_9", unit="head")
    with pytest.raises(
        BadInput, match=r"no keras\.layers\.MultiHeadAttention; set prune.unit=channel"
    ):
        cut_at(lenet(untouched), unit="head")
    with pytest.raises(NotApplicable, match="gamma needs a BatchNormalization"):
        cut_at(network, unit="head", semantics="gamma")


@pytest.mark.parametrize("bias", [True, False])
def test_heads_that_are_pruned_can_be_removed(bias, tmp_path):
    images = keras.Input((8, 8, 3))
    x = layers.Reshape((-1, 6))(layers.Conv2D(6, 4, strides=4)(images))
    x = layers.Add()([x, layers.MultiHeadAttention(4, 3, 2, use_bias=bias, name="heads")(x, x)])
    network = randomized(keras.Model(images, layers.Dense(5)(layers.Flatten()(x))))
    assert shrunk(network).count_params() == network.count_params()
    for pruned, left in (([2, 0], 2), ([0, 1, 2, 3], 1)):
        repaired = HeadCut(network).pruned(pruned)
        small = shrunk(repaired)
        assert small.get_layer("heads").num_heads == left
        small.save(tmp_path / "small.keras")
        for each in (small, load(tmp_path / "small.keras")):
            np.testing.assert_allclose(each(PIXELS), repaired(PIXELS), rtol=1e-4, atol=1e-4)


def test_of_attention_that_is_gated_all_heads_stay():
    network = HeadCut(randomized(special()), "causal").pruned([1])
    assert shrunk(network).get_layer("causal").num_heads == 4


def test_pruned_heads_stay_pruned_while_the_rest_learns():
    pruned = HeadCut(randomized(transformer(untouched))).pruned([1])
    trainee = Trainee(pruned)
    trainee.train_step(PIXELS, np.eye(5, dtype=np.float32)[np.arange(80) % 5], 0.01)
    was, kernel = (
        each.get_layer("attention_2").output_dense.kernel.numpy()
        for each in (pruned, trainee.network)
    )
    assert not kernel[1].any()
    assert (kernel[0] != was[0]).all()
