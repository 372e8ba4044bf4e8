#!/usr/bin/env bash
# Starts the MLflow server of a cluster on its head and returns once it answers; does nothing where
# it answers already. It listens on the loopback interface alone: the search runs on the head too,
# and `ucluster-tune ui` comes through ssh. Started beside the Ray of a head, it ends with that, as
# after `ray down`; `ray up` typed again, which stops Ray for some seconds, leaves it alone.
#
#   scripts/mlflow_server.sh FOLDER ARTIFACTS
#
# FOLDER is a local disk of the head, for the database and the log; ARTIFACTS a path or s3:// URI.
# MLFLOW_BACKEND_STORE_URI names another database than the SQLite file in FOLDER; it may hold a
# password, so it is no argument, which everybody on the machine could read. PostgreSQL's is taken
# from PGPASSWORD or ~/.pgpass where the URI has none.
set -euo pipefail

if (($# != 2)); then
    echo "usage: ${0##*/} FOLDER ARTIFACTS" >&2
    exit 2
fi
folder=$1 artifacts=$2
port="${UCLUSTER_TUNE_MLFLOW_PORT:-5000}"
limit_s="${UCLUSTER_TUNE_MLFLOW_START_S:-120}" # 20 s on two idle cores
address="http://127.0.0.1:$port"
log="$folder/mlflow.log"

answers() {
    python3 - "$address/health" <<'PYTHON' 2> /dev/null
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
sys.exit(opener.open(sys.argv[1], timeout=5).read() != b"OK")
PYTHON
}

if answers; then
    echo "MLflow answers at $address already"
    exit 0
fi

mkdir -p "$folder"
export MLFLOW_BACKEND_STORE_URI="${MLFLOW_BACKEND_STORE_URI:-sqlite:///$(realpath "$folder")/mlflow.db}"
if [[ $MLFLOW_BACKEND_STORE_URI == postgresql* ]]; then
    MLFLOW_BACKEND_STORE_URI="$(python3 -m ucluster_tune.tracking.backend_uri)"
fi
export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false # five more processes, for language models only
export MLFLOW_ENABLE_AI_GATEWAY=false           # for language models only
unset MLFLOW_TRACKING_URI                       # the address of this very server
umask 077                                       # database and log are the user's own

# Its assistant opens by itself at 127.0.0.1 and localhost, but not at mlflow.localhost, where `ui`
# leads browsers. Any port: a tunnel has its own.
hosts='127.0.0.1:*,localhost:*,[[]::1]:*,mlflow.localhost:*'

# In a session of its own, without the terminal: it outlives the ssh connection that started it.
setsid nohup mlflow server --host 127.0.0.1 --port "$port" --workers 1 \
    --allowed-hosts "$hosts" --cors-allowed-origins 'http://mlflow.localhost:*' \
    --artifacts-destination "$artifacts" --uvicorn-opts --no-access-log \
    > "$log" 2>&1 < /dev/null &
server=$!

ray_runs() { grep -qsx gcs_server /proc/[0-9]*/comm; }
# shellcheck disable=SC2329 # called in a session of its own, below
end_with_ray() {
    local missed=0
    while kill -0 "$1" && ((missed < 20)); do
        sleep 2
        if ray_runs; then missed=0; else ((missed += 1)); fi
    done
    kill -TERM -- "-$1"
}
if ray_runs; then
    export -f ray_runs end_with_ray
    setsid nohup bash -c "end_with_ray $server" > /dev/null 2>&1 < /dev/null &
fi

for ((waited = 0; waited < limit_s; waited++)); do
    if answers; then
        echo "MLflow answers at $address, its log is $log"
        exit 0
    fi
    if ! kill -0 "$server" 2> /dev/null; then
        echo "Error: MLflow's server ended; the last lines of $log:" >&2
        tail -n 5 "$log" >&2
        exit 1
    fi
    sleep 1
done
kill -TERM -- "-$server" 2> /dev/null || true
echo "Error: MLflow does not answer at $address after $limit_s s; the last lines of $log:" >&2
tail -n 5 "$log" >&2
exit 1
