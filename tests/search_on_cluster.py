"""`ucluster-tune` whose Ray is a cluster that runs already, for tests of what nodes do to it.

python -m tests.search_on_cluster ADDRESS run FILE --studies-dir FOLDER
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from ucluster_tune.cluster.embedded import prepare_environment


def main(address: str, arguments: list[str]) -> None:
    """Runs a command on the cluster at `address`."""
    prepare_environment()
    import ray

    from ucluster_tune.cli.main import main as command
    from ucluster_tune.search import runner

    @contextmanager
    def join(_n_cpus: int) -> Iterator[Any]:
        ray.init(
            address,
            _node_ip_address="127.0.0.1",
            log_to_driver=False,
            configure_logging=False,
        )
        try:
            yield SimpleNamespace(refuse_dead=lambda: None)
        finally:
            ray.shutdown()

    runner.embedded_ray = join  # type: ignore[assignment]
    sys.argv = ["ucluster-tune", *arguments]
    command()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
