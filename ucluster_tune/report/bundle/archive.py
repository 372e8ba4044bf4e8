"""The archive itself, whole and checked by its own reader, or not there at all."""

import csv
import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from ucluster_tune.config.loading import dump_config
from ucluster_tune.config.passwords import hide_passwords
from ucluster_tune.data.format.manifest import Manifest
from ucluster_tune.errors import StudyError
from ucluster_tune.report.bundle.crate import CRATE_JSON, crate_text
from ucluster_tune.report.bundle.measures import EPOCHS_CSV, csv_files
from ucluster_tune.report.page.answer import answer_in_words
from ucluster_tune.report.page.contents import read_contents
from ucluster_tune.report.page.writing import study_page
from ucluster_tune.storage.whole_files import explained, whole
from ucluster_tune.study.folder import best_config
from ucluster_tune.study.journal import read_record
from ucluster_tune.study.paths import StudyPaths
from ucluster_tune.study.record import StudyRecord

RECORD: Final = "record.jsonl"
_ABOUT: Final = {
    RECORD: "all that happened in the search, an event a line; all else follows from it",
    "study.yaml": "the configuration of the search",
    "best.yaml": "the configuration of its best trial, for `ucluster-tune train`",
    "answer.md": "what the search found, in words",
    "dataset.json": "the manifest of the jets, with the checksums of their files",
    "report.html": "the report; needs nothing else",
    EPOCHS_CSV: "losses and quality of the clusters on validation jets, a row an epoch",
    "metrics/trials.csv": "each trial at its best epoch, with its hyperparameters",
    "metrics/confusion.csv": "validation jets by cluster and class, at each training's best epoch",
    "metrics/test.csv": "the best trial and the yardsticks on the same test jets",
    "metrics/finalists.csv": "what each confirmation found on test jets, of each configuration",
    "metrics/comparisons.csv": "the confirmed one less each other thing, with 95 % intervals",
}
_LARGEST_BYTES: Final = 2 << 30  # of a file that is read


def write_bundle(
    record: StudyRecord,
    paths: StudyPaths,
    target: Path,
    license_name: str,
    manifest: Manifest | None,
) -> dict[str, int]:
    """Write the archive of a study, and return the sizes of its files by name, in bytes.

    Args:
        record: of the study.
        paths: of its files.
        target: the archive, which is replaced.
        license_name: SPDX name, such as CC-BY-4.0.
        manifest: of the jets; None where they are not there any more.

    Raises:
        StudyError: it cannot be written, or what was written is not what the record says.
    """
    contents = read_contents(record, paths)
    words = answer_in_words(contents)
    texts = {
        "answer.md": "\n\n".join(words) + "\n",
        "study.yaml": hide_passwords(dump_config(contents.config)),
        **csv_files(contents),
    }
    if record.best is not None:
        texts["best.yaml"] = hide_passwords(best_config(contents.config, record))
    if manifest is not None:
        texts["dataset.json"] = manifest.to_json()
    files = {name: text.encode() for name, text in texts.items()}
    with TemporaryDirectory(prefix="ucluster-tune-") as folder, explained(target, StudyError):
        files[RECORD] = paths.record.read_bytes()
        study_page(record, paths).write(Path(folder), latex=True)
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                files[path.relative_to(folder).as_posix()] = path.read_bytes()
        crate = crate_text(record, files, _ABOUT, " ".join(words), license_name, manifest)
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole(target) as temporary:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in {CRATE_JSON: crate.encode(), **files}.items():
                    archive.writestr(f"{record.name}/{name}", data)
            read_bundle(temporary)
    return {name: len(data) for name, data in files.items()}


def read_bundle(path: Path) -> tuple[dict[str, Any], StudyRecord]:
    """Return the provenance of a bundle, as the RO-Crate's root, and the study that it tells.

    Raises:
        StudyError: it is no bundle, a file is missing, altered or not declared, or the metrics
            are not those of the record.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = {
                info.filename.partition("/")[2]: archive.read(info)
                for info in archive.infolist()
                if not info.is_dir() and info.file_size <= _LARGEST_BYTES
            }
        graph = {entity["@id"]: entity for entity in json.loads(files[CRATE_JSON])["@graph"]}
        root = dict(graph["./"])
        declared = {part["@id"]: graph[part["@id"]] for part in root["hasPart"]}
        faults = list(_faults(declared, files))
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise StudyError(
            f"{path}: not a bundle of ucluster-tune, or cut short: {error}"
        ) from error
    if faults:
        raise StudyError(f"{path}: {'; '.join(faults[:5])}")
    with TemporaryDirectory(prefix="ucluster-tune-") as folder:
        journal = Path(folder) / RECORD
        journal.write_bytes(files[RECORD])
        record = read_record(journal)
    _compare(path, files, record)
    return root, record


def _faults(declared: Mapping[str, Any], files: Mapping[str, bytes]) -> Any:
    for name in declared.keys() - files.keys():
        yield f"{name} is missing"
    for name in files.keys() - declared.keys() - {CRATE_JSON}:
        yield f"{name} is not declared in {CRATE_JSON}"
    for name in declared.keys() & files.keys():
        if hashlib.sha256(files[name]).hexdigest() != declared[name]["sha256"]:
            yield f"{name} was altered: its checksum is another one"


def _compare(path: Path, files: Mapping[str, bytes], record: StudyRecord) -> None:
    rows = csv.DictReader(io.StringIO(files[EPOCHS_CSV].decode()))
    told = Counter((row["trial"], row["training"], int(row["epoch"])) for row in rows)
    known = Counter(
        (trial.id, training.plan.id, epoch.epoch)
        for trial in (*record.trials.values(), *record.other_trials.values())
        for training in trial.trainings.values()
        for epoch in training.records
    )
    if told != known:
        raise StudyError(
            f"{path}: {EPOCHS_CSV} has {told.total()} epochs, the record {known.total()}"
        )
