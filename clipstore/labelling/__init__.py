"""Labels that people give to images: what to label, and how answers come back."""
