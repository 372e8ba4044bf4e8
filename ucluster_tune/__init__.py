"""Distributed hyperparameter search for ABCnet-UCluster, a network that clusters jets unasked."""

__version__ = "0.3.0"
