"""Clusters that `ray up` launched, and jobs on them."""
