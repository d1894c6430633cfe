#!/usr/bin/env bash
# One stage on several machines without Slurm: run this on every machine, with the same first address.
#
#   NODES=4 NODE=0 MASTER=10.0.0.1 scripts/launch/torchrun.sh stages.pretrain fit --config conf/pretrain.yaml ...
#
# NODES   number of machines (1)            GPUS    processes on each machine (all its GPUs)
# NODE    number of this machine, from 0    MASTER  address of machine 0 (localhost)    PORT  free there (29500)
#
# SIGUSR1, SIGTERM and Ctrl-C save the current step. SIGUSR1 ends with status 75: start the same command again.
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "error: give a stage and its arguments, such as: stages.pretrain fit --config conf/pretrain.yaml" >&2
    exit 2
fi
nodes=${NODES:-1}
python=${PYTHON:-.venv/bin/python}
gpus=${GPUS:-$("$python" -c "import torch; print(max(1, torch.cuda.device_count()))")}
export OMP_NUM_THREADS=1                   # every loader's worker decodes with one thread
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=300  # seconds to save the current step, before torchrun sends SIGKILL

exec "$python" "$(dirname "$0")/torchrun.py" --nnodes "$nodes" --node_rank "${NODE:-0}" --nproc_per_node "$gpus" \
    --signals_to_handle SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 \
    --master_addr "${MASTER:-localhost}" --master_port "${PORT:-29500}" \
    -m "$@" --trainer.num_nodes "$nodes" --trainer.devices "$gpus"
