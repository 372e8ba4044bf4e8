"""Studies whose folder is in a bucket."""
