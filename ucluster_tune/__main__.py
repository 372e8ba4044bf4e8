"""`python -m ucluster_tune` is `ucluster-tune`."""

from ucluster_tune.cli.main import main

main(prog_name="ucluster-tune")
