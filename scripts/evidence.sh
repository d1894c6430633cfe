#!/usr/bin/env bash
# Does pretraining help? Three seeds of pretraining beside random encoders, scored on test clips of a seed that nothing else
# uses, so that no decision has seen them. `make evidence` calls it; ARGS in the environment goes to every stage.
set -euo pipefail
python=.venv/bin/python
# Instead of a cooldown: its compute (one of its steps costs 2.05 steps of pretraining) spent on more steps like those of
# pretraining.
constant="--data.clip.frames 8 --data.clip.size 64 --model.optim.lr.final 3.0e-3 --model.optim.lr.decay 1
    --trainer.max_steps 600 --trainer.val_check_interval 600 --checkpoint.every_n_train_steps 200"
$python -m vjepa data record-clips --out data/evidence --clips 480 --val 0 --test 1 --seed 1000
for seed in 0 1 2; do
    run=runs/evidence-seed$seed
    make cooldown RUN="evidence-seed$seed" ARGS="--seed_everything $seed ${ARGS:-}"
    # shellcheck disable=SC2086  # the words of $constant and $ARGS are separate arguments
    $python -m stages.cooldown fit --config conf/cooldown.yaml --model.init_from "$run/pretrain/checkpoints" \
        --out "$run/constant" --seed_everything "$seed" $constant ${ARGS:-}
done
$python -m scripts.evidence --runs '[runs/evidence-seed0,runs/evidence-seed1,runs/evidence-seed2]' \
    --score data/evidence/test.csv
