"""The pipeline: one module a stage."""
