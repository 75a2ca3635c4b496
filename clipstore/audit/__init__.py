"""Near-duplicates and label errors of a data set."""
