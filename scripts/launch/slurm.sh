#!/usr/bin/env bash
# One stage on several machines under Slurm. Each task of srun is one process with one GPU; Lightning reads Slurm's
# environment. Give the command of a stage, as `make -n` prints it:
#
#   sbatch --nodes 4 --gpus-per-node 8 --ntasks-per-node 8 scripts/launch/slurm.sh \
#       stages.pretrain fit --config conf/pretrain.yaml --config conf/task/vm22m/pretrain.yaml \
#       --config conf/scale/vitl16/pretrain.yaml --out runs/vitl16/pretrain
#
# Submit from the repository: Slurm starts the job in the folder of `sbatch`, and paths of recipes are relative to it.
# Five minutes before the time of the job is up, Slurm sends SIGUSR1 to all tasks: they save the current step and end
# with status 75, and the job is queued again. The same command continues an interrupted run.
#SBATCH --job-name=vjepa
#SBATCH --cpus-per-task=12
#SBATCH --output=slurm-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=USR1@300
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "error: give a stage and its arguments, such as: stages.pretrain fit --config conf/pretrain.yaml" >&2
    exit 2
fi
export OMP_NUM_THREADS=1 # every loader's worker decodes with one thread
python=${PYTHON:-.venv/bin/python}
again=75

# Slurm's counts decide, so that the command line and the allocation cannot disagree. Where one task has ended, the
# others get ten minutes: the first task may have to write the export, and tasks that wait for a lost one never end.
srun --wait=600 "$python" -m "$@" \
    --trainer.num_nodes "$SLURM_NNODES" --trainer.devices "$SLURM_NTASKS_PER_NODE" &
tasks=$!

# This shell outlives the signals, since it queues the job again. Slurm itself sends SIGTERM to the tasks; srun passes
# on SIGUSR1, which a task that hears it twice within a second counts once.
trap 'kill -s USR1 "$tasks" || true' USR1
trap : TERM

while kill -0 "$tasks" 2>/dev/null; do
    wait "$tasks" || true # a signal ends this too
done
wait "$tasks" && status=0 || status=$?
if [ "$status" -eq "$again" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
