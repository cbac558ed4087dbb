#!/usr/bin/env bash
# Evaluate on several processes of one machine or of several (GPUs where there are, else CPU).
#
#   tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [options of test.py]
#
# Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT (several machines: 29500; one: a free one), PYTHON.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT NUM_PROCESSES [options of test.py]" >&2
    exit 2
fi
CONFIG=$1
CHECKPOINT=$2
GPUS=$3
HERE="$(cd "$(dirname "$0")" && pwd)"

if [ "${NNODES:-1}" = 1 ] && [ -z "${PORT:-}" ]; then
    PLACE=(--standalone --local_addr=127.0.0.1)
else
    PLACE=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}")
    PLACE+=(--master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
fi

# In place of this shell, which would keep signals to itself.
exec "${PYTHON:-python}" -m torch.distributed.run "${PLACE[@]}" --nproc_per_node="$GPUS" \
    "$HERE/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"
