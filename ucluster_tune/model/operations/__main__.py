"""`python -m ucluster_tune.model.operations [--portable]` builds the fused operations."""

import sys

from ucluster_tune.model.operations.build import UnusableLibraryError, build


def main() -> int:
    """Build the library; return the exit status, 0 also where the stock operations must do."""
    try:
        print(f"Built {build(portable='--portable' in sys.argv[1:])}")
    except UnusableLibraryError as error:
        print(f"Trainings will be slower, with stock operations: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
