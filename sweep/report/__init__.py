"""One HTML file that tells what a sweep came to, to be handed on: `python -m sweep.report`.

`command.py` is where to start. `sources.py` finds the runs, `data.py` groups their cells into
strategies, `answer.py` writes the sentences on top; `page.py` puts it all with `template.html` into
one file, `tables.py` into CSV, Markdown or LaTeX. Charts are drawn in the browser by `report.js`.
"""

from sweep.report.command import log, print_place, write

__all__ = ["log", "print_place", "write"]
