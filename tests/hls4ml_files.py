"""Small HDF5 files in the layout of the HLS4ML LHC jets, filled with made-up jets."""

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

CONSTITUENT_NAMES = (
    *("j1_px", "j1_py", "j1_pz", "j1_e", "j1_erel", "j1_pt", "j1_ptrel", "j1_eta"),
    *("j1_etarel", "j1_etarot", "j1_phi", "j1_phirel", "j1_phirot", "j1_deltaR"),
    *("j1_costheta", "j1_costhetarel", "j1_pdgid"),
)
N_COLUMNS = 16  # the last name, j1_pdgid, has no column
JET_NAMES = (
    *("j_ptfrac", "j_pt", "j_eta", "j_mass"),
    *(f"j_shape{number}" for number in range(49)),
    *("j_g", "j_q", "j_w", "j_z", "j_t", "j_undef"),
)
MASSES_GEV = {"g": 50.0, "q": 40.0, "w": 80.0, "z": 91.0, "t": 172.0, "undef": 20.0}


@dataclass
class MadeUpFile:
    """The arrays of a file, to be changed by a test before they are written."""

    jets: Any
    constituents: Any
    jet_names: list[bytes]
    constituent_names: list[bytes]

    def column(self, name: str) -> Any:
        """float [jet, constituent], one column of the constituents."""
        return self.constituents[:, :, self.constituent_names.index(name.encode())]

    def jet_column(self, name: str) -> Any:
        """float [jet], one column of the jets."""
        return self.jets[:, self.jet_names.index(name.encode())]

    def write(self, path: Path, **options: Any) -> Path:
        """Write the file; options are those of h5py's create_dataset for both arrays."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file.create_dataset("jets", data=self.jets, **options)
            file.create_dataset("jetConstituentList", data=self.constituents, **options)
            file["jetFeatureNames"] = self.jet_names
            file["particleFeatureNames"] = self.constituent_names
        return path


def made_up_file(
    n_jets: int,
    classes: Sequence[str] = ("w", "z", "t"),
    seed: int = 0,
    n_slots: int = 100,
    max_constituents: int = 40,
    dtype: type = np.float32,
    first_id: int = 0,
) -> MadeUpFile:
    """Jets of each class in turn; the jet's number, from `first_id` on, is in column j_ptfrac."""
    generator = np.random.default_rng(seed)
    jet_class = [classes[index % len(classes)] for index in range(n_jets)]
    jets = generator.normal(size=(n_jets, len(JET_NAMES)))
    jets[:, JET_NAMES.index("j_ptfrac")] = first_id + np.arange(n_jets)
    jets[:, JET_NAMES.index("j_mass")] = [
        MASSES_GEV[name] + generator.normal() for name in jet_class
    ]
    for name in MASSES_GEV:
        jets[:, JET_NAMES.index(f"j_{name}")] = [float(name == other) for other in jet_class]
    constituents = np.zeros((n_jets, n_slots, N_COLUMNS))
    columns = dict(zip(CONSTITUENT_NAMES, np.moveaxis(constituents, 2, 0), strict=False))
    most = min(max_constituents, n_slots)
    for jet, n_real in enumerate(generator.integers(1, most + 1, n_jets)):
        pt = np.sort(generator.exponential(20, n_real) + 0.5)[::-1]
        eta, phi = generator.normal(scale=0.2, size=(2, n_real))
        energy = pt * np.cosh(eta)
        values = {
            "j1_px": pt * np.cos(phi),
            "j1_py": pt * np.sin(phi),
            "j1_pz": pt * np.sinh(eta),
            "j1_e": energy,
            "j1_erel": energy / energy.sum(),
            "j1_pt": pt,
            "j1_ptrel": pt / pt.sum(),
            "j1_eta": eta,
            "j1_etarel": eta - 0.01,
            "j1_etarot": -eta,
            "j1_phi": phi,
            "j1_phirel": phi + 0.02,
            "j1_phirot": -phi,
            "j1_deltaR": np.hypot(eta - 0.01, phi + 0.02),
            "j1_costheta": np.tanh(eta),
            "j1_costhetarel": np.cos(eta),
        }
        for name, value in values.items():
            columns[name][jet, :n_real] = value
    return MadeUpFile(
        jets.astype(dtype),
        constituents.astype(dtype),
        [name.encode() for name in JET_NAMES],
        [name.encode() for name in CONSTITUENT_NAMES],
    )


def write_folder(folder: Path, n_files: int = 3, n_jets: int = 40, **options: Any) -> Path:
    """Several files in a folder, jets numbered through; returns the folder."""
    for number in range(n_files):
        file = made_up_file(n_jets, seed=number, first_id=number * n_jets, **options)
        file.write(folder / f"jetImage_{number}_100p.h5")
    return folder


def write_tar(path: Path, folder: Path, mode: Any = "w:gz", prefix: str = "train") -> Path:
    """The files of a folder as an archive; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, dereference=True) as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, f"{prefix}/{file.name}")
    return path


def add_bytes(tar: tarfile.TarFile, name: str, data: bytes, **attributes: Any) -> None:
    """One made-up member of an open archive."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in attributes.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
