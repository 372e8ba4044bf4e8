"""Prints the URI in MLFLOW_BACKEND_STORE_URI with its password, for scripts that start MLflow.

MLflow itself knows nothing of PGPASSWORD and ~/.pgpass.
"""

import os
import sys

from ucluster_tune.errors import StudyError
from ucluster_tune.tracking.databases import is_database_server, refuse_unreachable, with_password


def main() -> int:
    """Print the URI, or why it cannot be used; return the exit status."""
    try:
        uri = with_password(os.environ["MLFLOW_BACKEND_STORE_URI"])
        if is_database_server(uri):
            refuse_unreachable(uri, "MLflow's database")
    except StudyError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(uri)
    return 0


if __name__ == "__main__":
    sys.exit(main())
