"""A study as one archive for Zenodo or HEPData, with its provenance."""
