"""The code that goes with an export into MLflow's registry, and is loaded by mlflow.pyfunc there.

It needs MLflow, NumPy, pandas, and TensorFlow or ONNX Runtime: nothing of the package it lies in.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.models
import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel

_JETS_AT_A_TIME = 64


class JetClusters(PythonModel):
    """Clusters of jets as a table: cluster, jet_class, embedding_0 ..., distance_0 ... ."""

    _ask: Callable[[Any], dict[str, Any]]

    def load_context(self, context: Any) -> None:
        """Open the export: see its README.md."""
        folder = Path(context.artifacts["export"])
        if (folder / "model.onnx").is_file():
            import onnxruntime

            session = onnxruntime.InferenceSession(folder / "model.onnx")
            names = [output.name for output in session.get_outputs()]
            self._ask = lambda jets: dict(
                zip(names, session.run(names, {"constituents": jets}), strict=True)
            )
        else:
            import tensorflow as tf

            self._model = tf.saved_model.load(str(folder))  # its functions need it alive
            function = self._model.signatures["serving_default"]
            self._ask = lambda jets: {
                name: values.numpy()
                for name, values in function(constituents=tf.constant(jets)).items()
            }

    def predict(
        self,
        context: Any,
        model_input: np.ndarray,  # without its dtype: MLflow compares the hint with this
        params: Any = None,
    ) -> pd.DataFrame:
        """Return a row a jet of float32 [jet, constituent, 4]: px, py, pz, energy in GeV."""
        jets = np.asarray(model_input, np.float32)
        starts = range(0, max(len(jets), 1), _JETS_AT_A_TIME)
        parts: list[pd.DataFrame] = [
            _table(self._ask(jets[start : start + _JETS_AT_A_TIME])) for start in starts
        ]
        return pd.concat(parts, ignore_index=True)


def _table(found: dict[str, Any]) -> pd.DataFrame:
    columns = {"cluster": found["cluster"]}
    if "jet_class" in found:
        names = found["jet_class"].astype(object)
        columns["jet_class"] = [n.decode() if isinstance(n, bytes) else n for n in names]
    for several, one in (("embedding", "embedding"), ("distances", "distance")):
        columns |= {f"{one}_{index}": values for index, values in enumerate(found[several].T)}
    return pd.DataFrame(columns)


mlflow.models.set_model(JetClusters())
