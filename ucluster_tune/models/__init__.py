"""Trained networks: saved, published, opened, predicting."""
