"""Seeds of the random numbers that a network draws while it trains, as for its dropout."""

import keras


def seed_states(network: keras.Model) -> list[keras.Variable]:
    """The states of the seed generators in `network`, (2,) each; assign them to set the seeds."""
    return [variable for variable in network.variables if variable.name == "seed_generator_state"]
