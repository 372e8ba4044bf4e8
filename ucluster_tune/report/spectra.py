"""A picture of the input: the spectrum of each quantity, by class."""

from pathlib import Path
from typing import Any

import numpy as np

from ucluster_tune.data.format.schema import UNLABELLED
from ucluster_tune.data.reading.description import SPECTRA, DatasetDescription
from ucluster_tune.errors import MachineError
from ucluster_tune.report.pictures import CLASS_LABELS, class_colors, save
from ucluster_tune.storage.whole_files import explained

AXIS_LABELS = {
    "mass_gev": "jet mass (GeV)",
    "n_constituents": "constituents of a jet",
    "eta_rel": "η relative to the jet",
    "phi_rel": "φ relative to the jet",
    "ln_pt_rel": "ln(pt / pt of the jet)",
    "delta_r": "ΔR to the jet",
    "ln_energy": "ln(energy / GeV)",
    "ln_energy_rel": "ln(energy / energy of the jet)",
    "ln_pt": "ln(pt / GeV)",
    "cos_theta_rel": "cos_theta_rel, a coordinate of the image",
}
_LOGARITHMIC = ("eta_rel", "phi_rel", "delta_r", "cos_theta_rel")  # peaked by decades


def draw_spectra(description: DatasetDescription, path: Path) -> None:
    """Write a picture with one panel for each quantity, normalised for each class.

    Raises:
        MachineError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 6.4), layout="constrained")
    axes = figure.subplots(2, 5).ravel()
    for axis, name in zip(axes, SPECTRA, strict=True):
        _draw(axis, name, description)
    n_jets = sum(sum(split.jets.values()) for split in description.splits.values())
    figure.suptitle(
        f"{description.manifest.name}: {n_jets:,} jets of all splits, each class normalised to 1",
        parse_math=False,
    )
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    with explained(path, MachineError):
        save(figure, path)


def _draw(axis: Any, name: str, description: DatasetDescription) -> None:
    spectrum = description.spectra[name]
    order = [*CLASS_LABELS, UNLABELLED]
    for key in sorted(spectrum.counts, key=order.index):
        counts = spectrum.counts[key]
        density = counts / (max(1, counts.sum()) * np.diff(spectrum.edges))
        (color,) = class_colors([key])
        axis.stairs(
            density, spectrum.edges, color=color, linewidth=1.4, label=CLASS_LABELS.get(key, key)
        )
    axis.set_xlabel(AXIS_LABELS[name])
    axis.margins(x=0)
    if name in _LOGARITHMIC:
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0)
    axis.tick_params(labelsize=8)
    axis.set_yticks([]) if name not in _LOGARITHMIC else axis.tick_params(axis="y", labelsize=7)
