#!/usr/bin/env bash
# A search on a Slurm cluster: Ray's head and the search on the first node, workers on all.
#
#   export HYBRIDNAS_STORAGE=postgresql+psycopg://USER:PASSWORD@HOST/NAME
#   sbatch --nodes=8 scripts/cluster/slurm.sh STUDY [what else `hybridnas search` takes]
#
# The same command again goes on where the last one ended. hybridnas must be installed where this
# runs; other nodes need Ray and torch (a shared environment has all). docs/clusters.md has more.
#SBATCH --job-name=hybridnas
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
set -euo pipefail

study="${1:?usage: sbatch slurm.sh STUDY [options of hybridnas search]}"
shift
if [[ "$SLURM_JOB_NUM_NODES" -gt 1 ]]; then
  : "${HYBRIDNAS_STORAGE:?several nodes need PostgreSQL: export HYBRIDNAS_STORAGE=postgresql+psycopg://...}"
fi

# Whoever reaches a Ray head may run code on it: only this job's processes know its token.
RAY_AUTH_MODE=token
RAY_AUTH_TOKEN="$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')"
export RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0
export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK" # srun does not take it over by itself

here="$(hostname)"
port=$((20000 + SLURM_JOB_ID % 20000)) # several jobs may share a node
address="$(hostname --ip-address | cut -d' ' -f1):$port"
node=(--num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")
search=""
workers=""
asked=""

stop() {
  asked=yes
  if [[ -n "$search" ]]; then kill -TERM "$search" 2>/dev/null || true; fi # ends in good order
}
trap stop TERM INT

ray start --head --node-ip-address="${address%:*}" --port="$port" --include-dashboard=false "${node[@]}"
if [[ "$SLURM_JOB_NUM_NODES" -gt 1 ]]; then
  srun --nodes="$((SLURM_JOB_NUM_NODES - 1))" --ntasks="$((SLURM_JOB_NUM_NODES - 1))" \
    --exclude="$here" ray start --address="$address" --block "${node[@]}" &
  workers=$!
fi

# --resume of a study that is new begins it.
hybridnas search "$study" --resume --ray "$address" "$@" &
search=$!
while :; do
  code=0
  wait "$search" || code=$?
  [[ -n "$asked" ]] || break
  asked="" # the signal ended the wait, not yet the search
done

if [[ -n "$workers" ]]; then kill "$workers" 2>/dev/null || true; fi
exit "$code" # Slurm ends what is left of Ray with the job
