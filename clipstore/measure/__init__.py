"""Measures of classifiers, their uncertainty and comparisons between them."""
