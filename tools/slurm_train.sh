#!/usr/bin/env bash
# Train under slurm.
#
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]
#
# Submits a batch job, whose log is in WORK_DIR; within a job (sbatch, salloc) it runs there and then.
# Two minutes before the job's end all processes get SIGUSR1: they save, and the job is queued anew.
#
# Environment: GPUS (processes in all; 8), GPUS_PER_NODE (8; 0 for nodes without GPUs, then
# TASKS_PER_NODE processes run on each), CPUS_PER_TASK (5), SRUN_ARGS (more options, of sbatch and
# srun alike), SIGNAL_SECONDS (before the end; 120), PYTHON.
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]" >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
WORK_DIR=$4
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
CPUS_PER_TASK=${CPUS_PER_TASK:-5}
SRUN_ARGS=${SRUN_ARGS:-}
HERE="$(cd "$(dirname "$0")" && pwd)"

if [ "$GPUS_PER_NODE" -gt 0 ]; then
    RESOURCES=(--gres="gpu:$GPUS_PER_NODE" --ntasks-per-node="$GPUS_PER_NODE")
else
    RESOURCES=(--ntasks-per-node="${TASKS_PER_NODE:-$GPUS}")
fi

REQUEST=(--partition="$PARTITION" --job-name="$JOB_NAME" --ntasks="$GPUS" "${RESOURCES[@]}")
REQUEST+=(--cpus-per-task="$CPUS_PER_TASK")

# shellcheck disable=SC2086 # SRUN_ARGS holds several words
if [ -z "${SLURM_JOB_ID:-}" ]; then
    mkdir -p "$WORK_DIR"
    echo "the job's log is in $WORK_DIR"
    exec sbatch "${REQUEST[@]}" --requeue --signal="USR1@${SIGNAL_SECONDS:-120}" \
        --output="$WORK_DIR/slurm-%j.log" --open-mode=append $SRUN_ARGS \
        --wrap="exec $(printf '%q ' "$HERE/slurm_train.sh" "$@")"
fi

# Jobs that share a node must not share a port.
export MASTER_PORT=${MASTER_PORT:-$((12000 + RANDOM % 20000))}
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    set -- "$@" --resume
fi
STATUS=0
# shellcheck disable=SC2086
srun "${REQUEST[@]}" --kill-on-bad-exit=1 $SRUN_ARGS \
    "${PYTHON:-python}" -u "$HERE/train.py" "$CONFIG" --work-dir "$WORK_DIR" \
    --launcher slurm "${@:5}" || STATUS=$?
# 128 + SIGUSR1: the time was up. After a preemption Slurm itself queues the job anew, and after
# scancel, which sends SIGTERM as well, nobody should.
if [ "$STATUS" -eq 138 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$STATUS"
