#!/usr/bin/env bash
# One stage on several machines under Slurm. Each task of srun is one process with one GPU; Lightning reads Slurm's
# environment. Give the command of a stage, as `make -n` prints it:
#
#   sbatch --nodes 4 --gpus-per-node 8 --ntasks-per-node 8 scripts/launch/slurm.sh \
#       stages.pretrain fit --config conf/pretrain.yaml --config conf/task/vm22m/pretrain.yaml \
#       --config conf/scale/vitl16/pretrain.yaml --out runs/vitl16/pretrain
#
# Submit from the repository: Slurm starts the job in the folder of `sbatch`, and paths of recipes are relative to it.
# The same command continues an interrupted run.
#SBATCH --job-name=vjepa
#SBATCH --cpus-per-task=12
#SBATCH --output=slurm-%j.out
# SIGTERM two minutes before the time is up: the stage saves its step and ends.
#SBATCH --signal=SIGTERM@120
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "error: give a stage and its arguments, such as: stages.pretrain fit --config conf/pretrain.yaml" >&2
    exit 2
fi
export OMP_NUM_THREADS=1 # every loader's worker decodes with one thread
python=${PYTHON:-.venv/bin/python}

# Slurm's counts decide, so that the command line and the allocation cannot disagree.
exec srun "$python" -m "$@" --trainer.num_nodes "$SLURM_NNODES" --trainer.devices "$SLURM_NTASKS_PER_NODE"
