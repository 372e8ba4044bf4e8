"""The Ray that trials run on: this process's own, or a cluster. Knows nothing of studies."""
