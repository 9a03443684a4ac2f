"""What an order, or a repair, declares to need: `@needs`, beside its formula.

An order that needs poisoned images is an oracle: it shows what is possible, is no defence, and is
marked in every table.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

from sweep import NotApplicable
from sweep.files import code_of_others
from sweep.pruning.evidence import Order

#: Everything an order may declare, and how its absence reads in a sentence.
NEEDS = {
    "activations": "the channels' activations",
    "preactivations": "the channels' values before their activation",
    "weights": "the weights of one convolution or Dense layer that produces the channels",
    "norm": "a BatchNormalization of the channels",
    "labels": "the labels of the clean validation images",
    "gradients": "the gradient of the loss by the one kernel that produces the channels",
    "training": "a network that can be trained on the clean validation images",
    "poisoned": "poisoned validation images, and which clean image each was made from",
}


def needs(*what: str) -> Callable[[Order], Order]:
    """Declare what an order needs (see `NEEDS`); one that declares nothing needs activations.

    With "poisoned" it is an oracle and is given an `Oracle`.
    """
    if not set(what) <= set(NEEDS):
        raise ValueError(f"an order can declare {set(NEEDS)}, not {set(what)}")

    def declare(order: Order) -> Order:
        vars(order)["needs"] = frozenset(what)
        return order

    return declare


def needs_of(order: Order) -> frozenset[str]:
    """What `order` declared; also of a `functools.partial` as Hydra makes it."""
    return getattr(_function(order), "needs", frozenset({"activations"}))


def is_oracle(order: Order) -> bool:
    """Whether `order` looks at poisoned images, which no defender has."""
    return "poisoned" in needs_of(order)


def is_learned(order: Order) -> bool:
    """Whether `order` trains something to find its scores."""
    return "training" in needs_of(order)


def threat_model(order: Order) -> str:
    """Whose order it is: "defender", or "oracle"."""
    return "oracle" if is_oracle(order) else "defender"


def code_of(order: Order) -> list[ModuleType | str]:
    """The sources that the scores of `order` depend on, beside those that activations depend on.

    All that orders are made of, also by another's order, which may use it; then that one's module.
    """
    return ["orders", "training", *code_of_others([order])]


def require(order: Order, layer: str, there: Mapping[str, Any]) -> None:
    """Raise NotApplicable where `order` needs what is None, at `layer`, of all that is `there`."""
    for need in sorted(needs_of(order) & set(there)):
        if there[need] is None:
            raise NotApplicable(
                f"this order needs {NEEDS[need]}, and at {layer!r} there is none; "
                f"take another order or another layer"
            )


def _function(order: Order) -> Order:
    while isinstance(order, partial):
        order = order.func
    return order
