"""Detectors to compare: those of the literature, GoodNet's own score and vote, and a control.

Each is one function in a module of its name, see `detectors.reference`; `hidden.py`, `surety.py`
and `settings.py` are what they share.
"""
