"""An export as a folder: whole, checked against the trial's own network, or not there at all.

Whatever its format, it is a model folder too (`models.saved`), so that every command that takes a
model takes an export.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from ucluster_tune import __version__
from ucluster_tune.errors import CheckpointError
from ucluster_tune.models.exported.check import TOLERANCE, CheckedJets, ExportCheck
from ucluster_tune.models.exported.examples import EXAMPLES
from ucluster_tune.models.exported.formats import INPUTS, write_and_check
from ucluster_tune.models.saved import SavedModel, refuse_existing, write_model
from ucluster_tune.storage.whole_files import explained, whole

FORMATS: Final = tuple(INPUTS)
EXPORT_JSON: Final = "export.json"
MODEL_CARD: Final = "README.md"
EXAMPLE: Final = "example.py"


def write_export(
    kind: str,
    model: SavedModel,
    class_of_cluster: Sequence[str] | None,
    folder: Path,
    jets: CheckedJets,
    card: Callable[[ExportCheck], str],
    files: Mapping[str, str],
) -> ExportCheck:
    """Write an export to a folder that does not exist or is empty.

    Args:
        kind: one of FORMATS.
        model: the network and its weights.
        class_of_cluster: see `ExportedNetwork`.
        folder: to be made.
        jets: to check what was written with.
        card: makes the model card, in Markdown, of what the check found.
        files: further texts by name, such as the configuration.

    Raises:
        CheckpointError: there is something, or it cannot be written.
        MachineError: what the format needs is not installed.
        ModelError: what was written gives other numbers.
    """
    target = folder.absolute()
    refuse_existing(target)
    with explained(target, CheckpointError):
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole(target) as staging:
            write_model(replace(model, optimizer=None), staging)
            check = write_and_check(kind, model, class_of_cluster, jets, staging)
            texts = {**files, EXAMPLE: EXAMPLES[kind], MODEL_CARD: card(check)}
            for name, text in texts.items():
                (staging / name).write_text(text, encoding="utf-8")
            document = {
                "format": kind,
                "written_by": f"ucluster-tune {__version__}",
                "origin": model.origin,
                "inputs": INPUTS[kind],
                "class_of_cluster": None if class_of_cluster is None else list(class_of_cluster),
                "check": {"tolerance": TOLERANCE, **asdict(check)},
                "files": _checksums(staging),
            }
            text = json.dumps(document, indent=2, allow_nan=False) + "\n"
            (staging / EXPORT_JSON).write_text(text, encoding="utf-8")
    return check


def _checksums(folder: Path) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
