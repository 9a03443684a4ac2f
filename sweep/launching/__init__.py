"""The cells of a sweep on their way to whoever runs them: in this process, in workers, elsewhere.

`plans.py` is where to start: which cells are to be run is written down in the sweep's folder, where
every job finds it. A job claims its cell (`claims.py`), tells how it went (`progress.py`), and
divides the machine with the other workers (`workers.py`).
"""
