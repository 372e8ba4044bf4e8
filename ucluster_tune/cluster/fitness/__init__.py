"""Whether the machines of a cluster are fit for a search."""
