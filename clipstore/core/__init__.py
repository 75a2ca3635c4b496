"""What every other room needs: errors, parameters and their schema, starting a stage, digests, atomic files, vectors, cache paths."""
