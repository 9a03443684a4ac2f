"""One HTML file that tells what a sweep came to, to be handed on: `python -m sweep.report`.

`command.py` is where to start. `sources.py` finds the runs, `data.py` makes groups of cells of
them, `answer.py` the sentence on top; `page.py` puts all of it with `template.html` into one file,
and `tables.py` into CSV, Markdown or LaTeX.
"""

from sweep.report.command import write

__all__ = ["write"]
