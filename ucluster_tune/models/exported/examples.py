"""The ten lines that come with an export and run without this program."""

from typing import Final

_JETS: Final = """\
# Two jets: px, py, pz, E in GeV of each constituent; the shorter one is filled up with zeros.
jets = np.zeros((2, 3, 4), np.float32)
jets[0] = [[520, 4, 95, 529], [310, -21, 60, 317], [98, 30, 11, 104]]
jets[1, :2] = [[-650, 80, -30, 656], [-240, 5, -22, 242]]
"""

EXAMPLES: Final = {
    "savedmodel": f'''\
"""Clusters of jets with plain TensorFlow."""
from pathlib import Path
import numpy as np
import tensorflow as tf

{_JETS}model = tf.saved_model.load(str(Path(__file__).parent))
found = model.signatures["serving_default"](constituents=tf.constant(jets))
for name, values in found.items():
    print(name, values.numpy().tolist())
''',
    "onnx": f'''\
"""Clusters of jets with ONNX Runtime alone."""
from pathlib import Path
import numpy as np
import onnxruntime

{_JETS}session = onnxruntime.InferenceSession(Path(__file__).with_name("model.onnx"))
names = [output.name for output in session.get_outputs()]
for name, values in zip(names, session.run(names, {{"constituents": jets}})):
    print(name, values.tolist())
''',
    "folder": '''\
"""Clusters of the jets of a data set, with ucluster-tune."""
import sys
from pathlib import Path
from ucluster_tune.data.reading.jet_source import open_parquet
from ucluster_tune.models.opening import open_model
from ucluster_tune.models.prediction import predict_here

model = open_model(Path(__file__).parent)
for part in predict_here(model, open_parquet(sys.argv[1], "test"), batch_size=64):
    print(part.cluster.tolist())
''',
}
