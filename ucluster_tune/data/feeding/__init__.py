"""Batches of jets for a rank's training steps."""
