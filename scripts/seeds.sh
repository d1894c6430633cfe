#!/usr/bin/env bash
# One run of the demo for each seed, then mean and standard deviation:  scripts/seeds.sh RUN SEED...
# `make demo SEEDS="0 1 2"` calls it; ARGS in the environment goes to every stage.
set -euo pipefail
run=$1
shift
scores=()
for seed in "$@"; do
    make probe RUN="$run-seed$seed" ARGS="--seed_everything $seed ${ARGS:-}"
    scores+=("runs/$run-seed$seed/probe/scores.json")
done
.venv/bin/python -m vjepa report "${scores[@]}"
