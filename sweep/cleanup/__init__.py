"""A shared experiment kept clean: runs whose process died, and those that came to nothing.

`selection` says which, `deletion` ends or deletes them, `command` is `python -m sweep.cleanup`.
"""
