"""Files anywhere: on a disk, in a bucket, behind a URL."""
