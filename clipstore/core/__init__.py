"""Basics for all other rooms: errors, parameters and their schema, stage start-up, digests, atomic writes, vectors, cache paths."""
