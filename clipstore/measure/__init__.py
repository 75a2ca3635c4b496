"""Measures of classifiers and what they may be believed to say."""
