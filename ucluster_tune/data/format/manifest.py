"""`manifest.json`: what a data set is, where it comes from, and the checksums of its files.

Knows nothing of what is inside the parquet files.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from ucluster_tune.data.format.features import FEATURE_NAMES
from ucluster_tune.data.format.schema import FORMAT_VERSION, MEND, SPLITS
from ucluster_tune.data.recognition import FILES, MANIFEST_JSON, Kind, what_is
from ucluster_tune.errors import DataError, MissingError
from ucluster_tune.storage.locations import Location, locate

MANIFEST_NAME: Final = MANIFEST_JSON
HLS4ML_SOURCE: Final = "HLS4ML LHC jets"
"""With which the source of converted data sets begins."""

_MAKE_ONE: Final = "make one with `ucluster-tune data simulate --out DIR`"
_CONVERT: Final = "make a data set of it with `ucluster-tune data convert SOURCE --out DIR`"
_OF_ANOTHER: Final = (
    "columns j1_* of the HLS4ML mirror are converted by `ucluster-tune data convert SOURCE --out"
    " DIR`; docs/data.md says which columns and which manifest others need"
)
_NO_DATASET: Final = {
    Kind.PARQUET: (
        f"this is a parquet file; a data set is a folder with {MANIFEST_NAME}: name that;"
        f" {_OF_ANOTHER}"
    ),
    Kind.HDF5: f"this is an HDF5 file; {_CONVERT}",
    Kind.MISSING: f"no such folder; check data.path, or {_MAKE_ONE}",
    Kind.HDF5_FOLDER: f"no {MANIFEST_NAME}, but HDF5 files; {_CONVERT}",
    Kind.PARQUET_FOLDER: (
        f"no {MANIFEST_NAME}, though there are parquet files: of a data set that is not complete,"
        f" {MEND}; or of another program: {_OF_ANOTHER}"
    ),
    Kind.EMPTY_FOLDER: f"no {MANIFEST_NAME} (the folder is empty); {_MAKE_ONE}",
}


class ManifestFile(BaseModel):
    """One parquet file of a data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(pattern=rf"^({'|'.join(SPLITS)})-\d{{5}}\.parquet$")
    split: str = Field(pattern=rf"^({'|'.join(SPLITS)})$")
    n_jets: int = Field(ge=0)
    n_row_groups: int = Field(ge=0)
    n_bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """The contents of `manifest.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    name: str
    source: str = Field(description="the generator and its versions, or where the jets come from")
    command: str = Field(description="the command that made the data set")
    created: str = Field(description="ISO 8601, UTC")
    features: tuple[str, ...]
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]] = Field(description="jets by split, then class")
    files: tuple[ManifestFile, ...]
    settings: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def dataset_checksum(self) -> str:
        """A sha256 over names and checksums of all files: the same jets, the same checksum."""
        lines = sorted(f"{file.sha256}  {file.path}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def split_files(self, split: str) -> tuple[ManifestFile, ...]:
        """Return the files of one split, in order of their names."""
        return tuple(
            sorted((file for file in self.files if file.split == split), key=lambda f: f.path)
        )

    def n_jets(self, split: str) -> int:
        """Return the number of jets in a split."""
        return sum(file.n_jets for file in self.split_files(split))

    def to_json(self) -> str:
        """Return the text of `manifest.json`."""
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"


def read_manifest(directory: Path | str | Location) -> Manifest:
    """Return the manifest of the data set in a folder, or at a URI.

    Raises:
        DataError: the folder or its manifest is missing, unreadable, of a newer version or of
            an unknown shape.
    """
    path = _find_manifest(locate(directory))
    document = _parse(path)
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'top level'}: {fault['msg']}"
            for fault in error.errors()[:3]
        )
        raise DataError(f"{path}: not a manifest of a data set: {faults}; {MEND}") from error
    if manifest.features != FEATURE_NAMES:
        raise DataError(
            f"{path}: features are {', '.join(manifest.features)}; the network reads"
            f" {', '.join(FEATURE_NAMES)}, in this order: make the data set with these"
        )
    _refuse_old_jets(path, manifest)
    return manifest


def _refuse_old_jets(path: Location, manifest: Manifest) -> None:
    """Raise for jets whose last feature is not the published quantity.

    In version 1 converted jets had it as the HLS4ML files have it; simulated ones had the cosine
    of the angle between constituent and jet.
    """
    if manifest.format_version >= 2 or manifest.source.startswith(HLS4ML_SOURCE):
        return
    raise DataError(
        f"{path}: format_version {manifest.format_version}: cos_theta_rel of these jets"
        f" ({manifest.source}) is a cosine of the angle to the jet, not the quantity of the HLS4ML"
        " jets, so that published weights cannot read them; simulate them anew with"
        " `ucluster-tune data simulate --out DIR`. Jets of your own whose cos_theta_rel is as in"
        " docs/data.md need format_version 2 in this file"
    )


def verify_files(
    directory: Path | str | Location,
    manifest: Manifest,
    on_file: Callable[[str], None] | None = None,
) -> None:
    """Compare size and sha256 of each file with the manifest.

    Args:
        directory: the data set's folder, or its URI; all of it is read.
        manifest: its manifest.
        on_file: called with each file's name once it is found whole, for a progress bar.

    Raises:
        DataError: the first file that is missing, cut short or altered.
    """
    for file in manifest.files:
        place = locate(directory) / file.path
        try:
            n_bytes = place.n_bytes()
            if n_bytes != file.n_bytes:
                change = "cut short" if n_bytes < file.n_bytes else "longer than it was"
                raise DataError(
                    f"{place}: {change}: {n_bytes} bytes, {MANIFEST_NAME} says"
                    f" {file.n_bytes}; {MEND}"
                )
            checksum = _sha256_at(place)
        except MissingError as error:
            raise DataError(
                f"{place}: missing, though {MANIFEST_NAME} lists it; {MEND}"
            ) from error
        if checksum != file.sha256:
            raise DataError(
                f"{place}: altered: sha256 is {checksum[:12]}..., {MANIFEST_NAME} says"
                f" {file.sha256[:12]}...; {MEND}"
            )
        if on_file is not None:
            on_file(file.path)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a local file, as hexadecimal text."""
    with path.open("rb") as stream:
        return _sha256(stream)


def _sha256_at(place: Location) -> str:
    with place.reading(), place.open_input() as stream:
        return _sha256(stream)


def _sha256(stream: Any) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def _find_manifest(folder: Location) -> Location:
    """Return the place of a folder's manifest, or the reason why it has none."""
    found = what_is(folder)
    if found is Kind.DATASET:
        return folder / MANIFEST_NAME
    file = f"this is a file; a data set is a folder with {MANIFEST_NAME}: {_MAKE_ONE}"
    other = file if found in FILES else f"no {MANIFEST_NAME}; {_MAKE_ONE}"
    raise DataError(f"{folder}: {_NO_DATASET.get(found, other)}")


def _parse(path: Location) -> Any:
    """Return the JSON of a manifest whose version is not newer than ours."""
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: not readable as JSON: {error}; {MEND}") from error
    version = document.get("format_version") if isinstance(document, dict) else None
    if type(version) is not int or version < 1:
        raise DataError(
            f"{path}: not a manifest of a data set: format_version must be a whole number from 1,"
            f" got {version!r}; {MEND}"
        )
    if version > FORMAT_VERSION:
        raise DataError(
            f"{path}: format_version {version} is newer than {FORMAT_VERSION}, the newest that"
            " this version of ucluster-tune reads; upgrade ucluster-tune"
        )
    return document
