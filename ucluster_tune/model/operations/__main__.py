"""`python -m ucluster_tune.model.operations [--portable]` builds the fused operations."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported


def main() -> int:
    """Build the library; return the exit status, 0 also where the stock operations must do."""
    from ucluster_tune.model.operations.build import (  # TensorFlow
        UnusableLibraryError,
        build,
    )

    try:
        print(f"Built {build(portable='--portable' in sys.argv[1:])}")
    except UnusableLibraryError as error:
        print(f"Trainings will be slower, with stock operations: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
