"""Classifiers fitted on cached embeddings."""
