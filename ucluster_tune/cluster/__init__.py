"""The Ray that trials run on: this process's own, or a cluster of machines. Knows nothing of studies."""
