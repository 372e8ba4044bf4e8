"""What a data set of jets is on the disk and in memory."""
