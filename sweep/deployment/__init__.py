"""A finished run's GoodNet in use: images of your own classified, and files for other programs.

`models` finds a GoodNet and what is known of it; `reading` reads images in batches, and `images`
says which the model can take; `classification` writes the table, `contact_sheet` the picture of
what is flagged; `onnx_files` exports. `commands` are `python -m sweep.classify` and
`python -m sweep.export`; TensorFlow is imported when they know what they are to do.
"""
