"""Data shared between stages: row cache, embeddings, predictions, audit results, and the table of approaches."""
