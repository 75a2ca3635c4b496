"""The command `clipstore`: one module per group of commands. They import libraries inside functions, so that --help is fast."""
