"""The provenance of a bundle as RO-Crate 1.1: which software made which files of which jets.

The format is JSON-LD, https://w3id.org/ro/crate/1.1; this is all of it that a search needs.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from ucluster_tune import __version__
from ucluster_tune.data.format.manifest import Manifest
from ucluster_tune.study.record import StudyRecord

CRATE_JSON: Final = "ro-crate-metadata.json"
_SPECIFICATION: Final = "https://w3id.org/ro/crate/1.1"
_DATASET: Final = "#jets"
_SEARCH: Final = "#search"
_PROGRAM: Final = "#ucluster-tune"
_FORMATS: Final = {
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "md": "text/markdown",
    "pdf": "application/pdf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "tex": "application/x-tex",
    "yaml": "application/yaml",
}


def crate_text(
    record: StudyRecord,
    files: Mapping[str, bytes],
    about: Mapping[str, str],
    description: str,
    license_name: str,
    manifest: Manifest | None,
) -> str:
    """Return the text of `ro-crate-metadata.json`.

    Args:
        record: of the study.
        files: all others of the bundle, by name.
        about: what files hold, by name.
        description: the answer, in sentences.
        license_name: SPDX name of the licence under which the bundle may be used.
        manifest: of the jets; None where they are not there any more.
    """
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Hyperparameter search {record.name} of ABCnet-UCluster",
        "description": description,
        "datePublished": (record.ended or record.last_event)[:10],
        "license": {"@id": f"https://spdx.org/licenses/{license_name}"},
        "hasPart": [{"@id": name} for name in files],
        "mentions": {"@id": _SEARCH},
    }
    descriptor = {
        "@id": CRATE_JSON,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": _SPECIFICATION},
    }
    search = {
        "@id": _SEARCH,
        "@type": "CreateAction",
        "name": f"search {record.name}",
        "identifier": record.study_id,
        "startTime": record.started,
        "endTime": record.ended or record.last_event,
        "instrument": {"@id": _PROGRAM},
        "object": {"@id": _DATASET},
        "result": {"@id": "./"},
        "actionStatus": {"@id": f"http://schema.org/{_status(record)}"},
    }
    program = {
        "@id": _PROGRAM,
        "@type": "SoftwareApplication",
        "name": "ucluster-tune",
        "softwareVersion": record.code_version,
        "citation": "https://arxiv.org/abs/2010.07106",
        "description": f"this bundle was written by version {__version__}",
    }
    licence = {
        "@id": f"https://spdx.org/licenses/{license_name}",
        "@type": "CreativeWork",
        "name": license_name,
    }
    parts = [_file(name, contents, about) for name, contents in files.items()]
    graph = [descriptor, root, *parts, search, program, _jets(record, manifest), licence]
    context = [f"{_SPECIFICATION}/context", {"sha256": "https://schema.org/sha256"}]
    document = {"@context": context, "@graph": graph}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _status(record: StudyRecord) -> str:
    status = {"complete": "CompletedActionStatus", "running": "ActiveActionStatus"}
    return status.get(record.state, "FailedActionStatus")


def _file(name: str, contents: bytes, about: Mapping[str, str]) -> dict[str, Any]:
    told = {"description": about[name]} if name in about else {}
    return {
        "@id": name,
        "@type": "File",
        "contentSize": str(len(contents)),
        "encodingFormat": _FORMATS.get(name.rpartition(".")[2], "application/octet-stream"),
        "sha256": hashlib.sha256(contents).hexdigest(),
        **told,
    }


def _jets(record: StudyRecord, manifest: Manifest | None) -> dict[str, Any]:
    told = {} if manifest is None else {"name": manifest.name, "description": manifest.source}
    return {
        "@id": _DATASET,
        "@type": "Dataset",
        "name": "the jets of the search",
        "identifier": record.dataset_checksum,
        **told,
    }
