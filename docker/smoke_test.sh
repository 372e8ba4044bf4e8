#!/usr/bin/env bash
# Whether an image works at all, at the end of its build: no compiler, no root, and a Horovod that
# was compiled for this very TensorFlow.
set -euo pipefail

if [[ $(id -u) == 0 ]] || command -v g++ > /dev/null; then
    echo "Error: the image runs as root, or has a compiler" >&2
    exit 1
fi
[[ $(stat -c %U "$(command -v ucluster-tune)") == root ]] # the program is not the user's to change
ucluster-tune --help > /dev/null
bash --login -c 'command -v ray rsync ssh wget' > /dev/null # what Ray's launcher and KubeRay want
horovodrun --check-build
python - << 'PYTHON'
import socket

import horovod
import horovod.tensorflow as hvd  # loads what was compiled
import mlflow, optuna, pg8000, ray
import tensorflow as tf

assert hvd.gloo_built()
try:
    socket.getaddrinfo(socket.gethostname(), None)
except OSError:  # in some builders, and Gloo would crash
    print("This build's host name does not resolve: Horovod was loaded, not started")
else:
    hvd.init()
    assert hvd.size() == 1
    assert float(hvd.allreduce(tf.constant(2.0))) == 2.0
print(f"TensorFlow {tf.__version__}, Horovod {horovod.__version__}, Ray {ray.__version__}")
PYTHON
ucluster-tune check /opt/ucluster-tune/search_spaces/quickstart.yaml > /dev/null
