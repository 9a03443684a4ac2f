"""Seeds of the random numbers that a network draws while it trains, as for its dropout."""

import keras


def seed_states(network: keras.Model) -> list[keras.Variable]:
    """The states of all seed generators in `network`, (2,) each; assign them to set the seeds.

    They are the variables that are no weights, whatever their names.
    """
    weights = {id(weight) for weight in network.weights}
    return [variable for variable in network.variables if id(variable) not in weights]
