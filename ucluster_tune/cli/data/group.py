"""`ucluster-tune data`: make data sets, and look into them."""

import click

from ucluster_tune.cli.data.convert import convert
from ucluster_tune.cli.data.describe import describe
from ucluster_tune.cli.data.download import download
from ucluster_tune.cli.data.simulate import simulate


@click.group(
    epilog="""\b
    Example:
      ucluster-tune data simulate --out data/wzt --jets-per-class 20000
      ucluster-tune data describe data/wzt
    """
)
def data() -> None:
    """Make data sets of jets, and look into them."""


data.add_command(convert)
data.add_command(describe)
data.add_command(download)
data.add_command(simulate)
