"""Data sets: the index, image files, downloads, and the generated samples."""
