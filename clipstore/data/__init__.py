"""Data sets: the index, image files, downloads, the drawn sample."""
