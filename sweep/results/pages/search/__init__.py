"""The page on searches: is the proxy worth anything, is a search better than a grid, what came out.

`reading.py` finds the runs, `ranks.py` correlates, `replays.py` lets studies search in what a grid
has measured, `page.py` writes it down.
"""
