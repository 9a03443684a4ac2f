"""What the tests of repairs share."""

import keras
import pytest
from repaired import rates, small_badnet


@pytest.fixture(scope="session")
def badnet() -> keras.Model:
    network = small_badnet()
    clean, attack = rates(network)
    assert clean > 0.95
    assert attack > 0.95
    return network
