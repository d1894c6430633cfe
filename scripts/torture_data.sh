#!/usr/bin/env bash
# Small data for scripts/torture.py, in the folder that is given: a minute or two.
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "error: give a folder, such as: scripts/torture_data.sh runs/torture" >&2
    exit 2
fi
python=$(realpath --no-symlinks "${PYTHON:-.venv/bin/python}")
mkdir -p "$1" && cd "$1"
"$python" -m vjepa data record-clips --out data/demo --clips 64
"$python" -m vjepa data record-robot --out data/robot --episodes 16
seed=0
for split in train val test; do
    "$python" -m vjepa data record-clips --out "data/anticipate/$split" --clips 0 --seed "$seed" --episodes 12
    seed=$((seed + 1))
done
"$python" -m vjepa data record-questions --world data/demo
"$python" -m vjepa weights tiny-language-model --texts data/demo/captions.jsonl data/demo/train.jsonl \
    --out runs/demo/language
