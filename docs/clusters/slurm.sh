#!/usr/bin/env bash
# A search inside one allocation of Slurm: Ray's head and workers on its nodes, the search beside the head.
#
#   cd CHECKOUT                               # installed there, on a folder that all nodes see
#   export UCLUSTER_TUNE_STUDIES=/shared/...  # such a folder too
#   sbatch docs/clusters/slurm.sh NAME search_spaces/jets.yaml [OPTIONS of `ucluster-tune run`]
#
# Submitted again with the same NAME, or requeued, it carries study NAME on. docs/clusters/slurm.md.
# To be filled in, here or as options of sbatch: what your site wants and what a trial needs.

#SBATCH --job-name=ucluster-tune
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=ucluster-tune-%j.log
# With GPUs, and on sites that want them, without the second `#`:
##SBATCH --gpus-per-node=1
##SBATCH --partition=FILL-IN
##SBATCH --account=FILL-IN

set -euo pipefail

if (($# < 2)); then
    echo "usage: sbatch [OPTIONS] ${0##*/} NAME FILE [OPTIONS of ucluster-tune run]" >&2
    exit 2
fi
name=$1 file=$2
shift 2
: "${UCLUSTER_TUNE_STUDIES:?must name a folder that all nodes see}"
start_limit_s="${UCLUSTER_TUNE_START_S:-180}"
stop_limit_s="${UCLUSTER_TUNE_STOP_S:-200}" # less than --signal gives

cd "$SLURM_SUBMIT_DIR"
export PATH="$PWD/.venv/bin:$PATH"
export RAY_USAGE_STATS_ENABLED=0
export UCLUSTER_TUNE_STUDIES
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}" # srun does not ask sbatch any more

# The token of this job, for its user alone; it ends with the job.
private="$UCLUSTER_TUNE_STUDIES/.slurm-$SLURM_JOB_ID"
(umask 077 && mkdir -p "$private" && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$private/token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$private/token"

steps=() driver="" is_time_up=false

# shellcheck disable=SC2329 # called by the trap
clean_up() {
    trap - EXIT
    trap '' USR1 TERM
    local processes=("${steps[@]}" ${driver:+"$driver"})
    ((${#processes[@]} == 0)) || kill -TERM "${processes[@]}" 2> /dev/null || true
    for _ in {1..30}; do
        [[ -n $(jobs -pr) ]] || break
        sleep 1
    done
    rm -rf "$private"
}
trap clean_up EXIT

# By --signal, or for an end in order at any time: `scancel --signal=USR1 --batch JOB`.
# shellcheck disable=SC2329 # called by the trap
stop_in_order() {
    is_time_up=true
    [[ -n $driver ]] || exit 1
    echo "The time is nearly up: stopping study $name after its running epochs"
    ucluster-tune stop "$name" --local --wait "$stop_limit_s" ||
        ucluster-tune stop "$name" --local --now ||
        kill -TERM "$driver"
}
trap stop_in_order USR1

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]} last=${nodes[-1]}

# Where the others find the head: as the last of them resolves its name, since a node may resolve its
# own name to its loopback. UCLUSTER_TUNE_HEAD_ADDRESS: another network of it.
on() { # NODES COMMAND...
    local where=$1
    shift
    IFS=, read -ra list <<< "$where"
    srun --overlap --nodes="${#list[@]}" --ntasks="${#list[@]}" --ntasks-per-node=1 --nodelist="$where" "$@"
}
address="${UCLUSTER_TUNE_HEAD_ADDRESS:-}"
if [[ -z $address ]]; then
    address="$(on "$last" getent ahostsv4 "$head" | awk 'NR == 1 {print $1}')"
    if ((${#nodes[@]} == 1)) && [[ $address == 127.* ]]; then
        address="$(hostname -I | awk '{print $1}')" # Ray takes no loopback
    fi
    if [[ -z $address || $address == 127.* ]]; then
        echo "Error: node $last resolves $head to '$address': set UCLUSTER_TUNE_HEAD_ADDRESS" >&2
        exit 1
    fi
fi
# Other jobs may have a Ray on this node.
port="$(python - "$address" << 'PYTHON'
import socket, sys
with socket.socket() as probe:
    probe.bind((sys.argv[1], 0))
    print(probe.getsockname()[1])
PYTHON
)"

ray_options=(
    --block --disable-usage-stats --object-store-memory=200000000 --num-cpus="$SRUN_CPUS_PER_TASK"
    --num-gpus="${SLURM_GPUS_ON_NODE:-0}"
    --temp-dir="/tmp/ray-$SLURM_JOB_ID" --dashboard-agent-listen-port=0
)
ulimit -n "$(ulimit -Hn)" || true
on "$head" ray start --head --node-ip-address="$address" --port="$port" --include-dashboard=false \
    "${ray_options[@]}" &
steps+=($!)
if ((${#nodes[@]} > 1)); then
    others="$(IFS=,; echo "${nodes[*]:1}")"
    # They try until the head answers.
    # shellcheck disable=SC2016 # expanded on the nodes
    on "$others" bash -c 'for _ in {1..60}; do
            ray health-check --address "$1" > /dev/null 2>&1 && break
            sleep 2
        done
        shift
        exec ray start "$@"' ray "$address:$port" --address="$address:$port" "${ray_options[@]}" &
    steps+=($!)
fi

python - "$address:$port" "${#nodes[@]}" << 'PYTHON' &
import sys, time, ray
address, n_nodes = sys.argv[1], int(sys.argv[2])
while True:
    try:
        ray.init(address, logging_level="ERROR", log_to_driver=False)
        break
    except ConnectionError:
        time.sleep(1)
while sum(node["Alive"] for node in ray.nodes()) < n_nodes:
    time.sleep(1)
PYTHON
waiter=$!
while kill -0 "$waiter" 2> /dev/null; do
    n_alive=0
    for step in "${steps[@]}"; do
        ! kill -0 "$step" 2> /dev/null || n_alive=$((n_alive + 1))
    done
    if ((SECONDS > start_limit_s || n_alive < ${#steps[@]})); then
        echo "Error: after $SECONDS s there is no Ray of ${#nodes[@]} nodes; see above why" >&2
        kill "$waiter" 2> /dev/null || true
        exit 1
    fi
    sleep 1
done
wait "$waiter"

where=(--address "$address:$port")
if [[ -e $UCLUSTER_TUNE_STUDIES/$name/record.jsonl ]]; then
    ucluster-tune resume "$name" "${where[@]}" &
else
    ucluster-tune run "$file" --name "$name" --yes "${where[@]}" "$@" &
fi
driver=$!
# A trap ends a `wait`, and not the driver.
while kill -0 "$driver" 2> /dev/null; do
    wait "$driver" || true
done
wait "$driver" && status=0 || status=$?
driver=""

# The search itself stops in time for the end that Slurm tells it, SLURM_JOB_END_TIME, where that is
# before the signal.
state="$(ucluster-tune status "$name" --local --json || true)"
[[ $state != *'"cause": "the allocation ends at '* ]] || is_time_up=true
if $is_time_up && [[ $state == *'"state": "interrupted"'* ]]; then
    echo "Study $name goes on in the next run of job $SLURM_JOB_ID"
    clean_up # Slurm would kill what still runs
    scontrol requeue "$SLURM_JOB_ID" || echo "submit it again to carry the study on" >&2
fi
exit "$status"
