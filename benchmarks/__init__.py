"""What the speed claims of README are measured with."""
