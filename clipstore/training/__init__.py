"""Networks trained on images: fine-tuned or from scratch."""
