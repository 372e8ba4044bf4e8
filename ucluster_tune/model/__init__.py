"""ABCnet-UCluster in TensorFlow; knows no rank and no file."""
