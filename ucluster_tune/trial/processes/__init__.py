"""The worker processes of a trial."""
