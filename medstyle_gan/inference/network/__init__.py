"""A whole volume through a generator: slices, windows, planes, streams and their statistics."""
