"""Parts of the table of settings (`schema.py`) that stand alone."""
