"""GoodNet and B' of a run in MLflow's model registry: `models:/NAME@best`, with a card.

`registering` does it and is where to start; `names` are those that may be given, `better` is when
the alias moves, `card` what a version says of itself, `command` is `python -m sweep.register`.
"""
