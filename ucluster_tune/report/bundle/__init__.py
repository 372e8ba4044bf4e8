"""A study as one archive for Zenodo or the supplement of a paper, with its provenance."""
