"""The HLS4ML LHC jets: reading their HDF5 files, finding these in folders and archives."""
