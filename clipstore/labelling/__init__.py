"""Labels that people give: which images to label next, and the sheets and tasks that show them these images."""
