"""Simulated jets: Pythia 8 collisions, a smearing detector, FastJet, and a data set of it all.

Pythia 8 and FastJet are an optional extra and are imported where they are first used.
"""
