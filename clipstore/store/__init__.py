"""What is kept between stages: the row cache, embeddings, predictions, and the table of approaches."""
