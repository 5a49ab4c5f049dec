"""What is computed once per clip and shared: frames, flow, image, image-text and video embeddings."""
