"""Where the data made by the published code lies: beside the checkout, never in it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "shared" / "reference"
MISSING = f"no data of the published code in {FOLDER.name}/ beside the checkout"

needs_published_data = pytest.mark.skipif(
    not (FOLDER / "cluster.ckpt.index").is_file(), reason=MISSING
)


def published_arrays_of(name: str) -> SimpleNamespace:
    """The arrays of `inference` or `training_steps`; skips the test where there are none."""
    if not FOLDER.is_dir():
        pytest.skip(MISSING)
    with np.load(FOLDER / f"{name}.npz") as archive:
        return SimpleNamespace(**{key: archive[key] for key in archive})
