"""Dense and convolutions of all kinds: the one rule by which kernels are cut and constants folded.

What is added up to a new bias is added up in float64.
"""

import numpy as np
from numpy.typing import NDArray

from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Node
from sweep.networks.layer_types import (
    DEPTHWISE,
    LAYERS,
    SEPARABLE,
    TRANSPOSED,
    activation_is_channelwise,
    filters,
)
from sweep.networks.shrinking.rules import Mask, Rule, Smaller, Values, activated, channel_count


class WeightedRule(Rule):
    """A Dense or a convolution, whose constant inputs go into its bias where that is exact.

    In `groups`, each of some inputs, it makes some channels of each; a group goes as a whole, and
    those that are left stay alike. A depthwise convolution has a group for each input.
    """

    opaque = False

    def __init__(self, graph: Graph, node: Node) -> None:
        super().__init__(graph, node)
        layer = self.layer
        depthwise = type(layer) in DEPTHWISE
        self.groups = (
            channel_count(node.input_tensors[0]) if depthwise else getattr(layer, "groups", 1)
        )
        self.flexible = self.groups == 1
        whole = np.prod(getattr(layer, "kernel_size", 1)) == 1
        self.everywhere = whole or layer.padding == "valid"  # each output sees the whole kernel
        self.everywhere &= not self.coupled and type(layer) not in TRANSPOSED
        kernel = filters(layer)
        self.kernel = kernel.reshape(-1, *kernel.shape[-2:])
        self.reaches = _block_diagonal(np.any(self.kernel, axis=0), self.groups)
        self.folded: Values = np.zeros(len(self.reaches))

    def constants(self, values: list[Values]) -> Values:
        self.folded = values[0] if self.everywhere else np.where(values[0] == 0, 0, np.nan)
        varying = self.reaches[np.isnan(self.folded)].any(axis=0)
        if not activation_is_channelwise(self.layer):
            return np.full(self.reaches.shape[-1], np.nan)
        linear = np.where(varying, np.nan, self._bias(np.ones(len(self.folded), bool)))
        return activated(self.layer.activation, linear)

    def propagate(self, taken: list[Mask], kept: Mask) -> None:
        kept |= not activation_is_channelwise(self.layer)
        (mask,) = taken
        mask |= self.reaches[:, kept].any(axis=1) & np.isnan(self.folded)
        if self.groups > 1:
            alive = _any_in_group(mask, self.groups) | _any_in_group(kept, self.groups)
            _equalise(mask.reshape(self.groups, -1), alive)
            _equalise(kept.reshape(self.groups, -1), alive)

    def cut(self, taken: list[Mask], kept: Mask) -> Smaller:
        layer, (mask,) = self.layer, taken
        bias = self._bias(~mask)[kept]
        settings = {"use_bias": layer.use_bias or bool(bias.any())}
        arrays: dict[str, NDArray] = {"bias": bias} if settings["use_bias"] else {}
        if type(layer) in SEPARABLE:
            deep, point = layer.depthwise_kernel.numpy(), layer.pointwise_kernel.numpy()
            arrays["depthwise_kernel"] = deep[..., mask, :]
            arrays["pointwise_kernel"] = point[..., np.repeat(mask, deep.shape[-1]), :][..., kept]
        else:
            arrays["kernel"] = self._kernel(mask, kept)
        if type(layer) in DEPTHWISE:
            return settings | {"depth_multiplier": int(kept.sum() // mask.sum())}, arrays
        if self.groups > 1:
            settings["groups"] = int(_any_in_group(kept, self.groups).sum())
        width = "units" if type(layer) is LAYERS.Dense else "filters"
        return settings | {width: int(kept.sum())}, arrays

    def _bias(self, left: Mask) -> Values:
        """Return the bias with the inputs that are constant and `left` out in it, (channels,)."""
        bias = np.zeros(self.reaches.shape[-1])
        if self.layer.bias is not None:
            bias += self.layer.bias.numpy()
        values = np.nan_to_num(np.where(left, self.folded, 0))
        if values.any():
            bias += values @ _block_diagonal(self.kernel.sum(axis=0, dtype=np.float64), self.groups)
        return bias

    def _kernel(self, mask: Mask, kept: Mask) -> NDArray[np.float32]:
        """Return the kernel of the channels read and made, in the layer's own order of axes."""
        kernel = self.layer.kernel.numpy()
        if type(self.layer) in TRANSPOSED:
            return kernel[..., kept, :][..., mask]
        if type(self.layer) in DEPTHWISE:
            rows = kernel.reshape(*kernel.shape[:-2], -1)[..., kept]
            return rows.reshape(*kernel.shape[:-2], int(mask.sum()), -1)
        parts = [
            part[..., inputs, :][..., outputs]
            for part, inputs, outputs in zip(
                np.split(kernel, self.groups, axis=-1),
                mask.reshape(self.groups, -1),
                kept.reshape(self.groups, -1),
                strict=True,
            )
            if outputs.any()
        ]
        return np.concatenate(parts, axis=-1)


def _block_diagonal(matrix: NDArray, groups: int) -> NDArray:
    """(inputs of a group, all channels) -> (all inputs, all channels), 0 from group to group."""
    rows, columns = matrix.shape
    blocks = np.zeros((groups, rows, groups, columns // groups), dtype=matrix.dtype)
    diagonal = np.arange(groups)
    blocks[diagonal, :, diagonal] = matrix.reshape(rows, groups, -1).swapaxes(0, 1)
    return blocks.reshape(groups * rows, columns)


def _any_in_group(mask: Mask, groups: int) -> Mask:
    """Return which groups have a channel in `mask`."""
    return np.any(mask.reshape(groups, -1), axis=1)


def _equalise(mask: Mask, alive: Mask) -> None:
    """Add the first channels to each `alive` row of `mask`, until all these have as many."""
    count = max(1, mask.sum(axis=1).max())
    for row in np.flatnonzero(alive):
        missing = np.flatnonzero(~mask[row])[: count - mask[row].sum()]
        mask[row, missing] = True
