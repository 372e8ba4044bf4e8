"""Where the data made by the published code lies: beside the checkout, never in it."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "shared" / "reference"
MISSING = f"no data of the published code in {FOLDER.name}/ beside the checkout"

needs_published_data = pytest.mark.skipif(
    not (FOLDER / "cluster.ckpt.index").is_file(), reason=MISSING
)
