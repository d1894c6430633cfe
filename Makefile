# The story of the project, top to bottom. `make help` lists the targets.
PYTHON ?= python3
RUN    ?= demo
SCALE  ?=
ARGS   ?=
SEEDS  ?=
CLIPS  ?= 1600
EPISODES ?= 400
PROTOCOL ?= quick

PY     := .venv/bin/python
R      := runs/$(RUN)
STAGES := pretrain cooldown probe anticipate ac clone align vlm
EXPORT := model.safetensors
EVENTS := $(foreach split,train val test,data/anticipate/$(split)/done.json)
overlay = $(if $(SCALE),$(wildcard conf/$(SCALE)/$1.yaml))
needed  = $(if $(SCALE),$(or $(call overlay,$1),$(error conf/$(SCALE)/$1.yaml does not exist, and $1 of this RUN is not finished)))
pip     = $(PY) -m pip install -q --disable-pip-version-check -c constraints.txt
MAKEFLAGS += --no-print-directory

help:  ## this page
	@echo "make TARGET [RUN=name] [SCALE=vitl16] [SEEDS='0 1 2'] [ARGS='--data.workers 8 ...']"; echo
	@awk -F ':.*## ' '/^[a-z].*:.*## /{printf "  %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "  RUN     folder under runs/ (now: $(RUN))        SCALE   folder under conf/ laid over the demo's recipe"
	@echo "  SEEDS   with demo: runs RUN-seed0, RUN-seed1, ...; mean and spread"
	@echo "  ARGS    passed to every stage's command line; part of the recipe, so give them again to continue"
	@echo "  CLIPS   size of the demo's data (now: $(CLIPS))   PYTHON  interpreter for .venv (now: $(PYTHON))"
	@echo "  EPISODES  robot episodes of the demo (now: $(EPISODES))   PROTOCOL  what plan measures: quick, or full (now: $(PROTOCOL))"

demo: $(if $(SEEDS),sweep,probe)  ## everything: set-up, data, pretrain, cooldown, probe, and the table
	@$(if $(SEEDS),,echo && echo "$(R) is complete; what was finished before is not run again." && $(PY) -m vjepa report $(R)/probe/scores.json)
	@echo "Curves and pictures: make tensorboard"

test: .venv/test-ready  ## all tests, the slow ones too
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal $(ARGS)

# A stage is finished when its export exists. It is resumed if it was interrupted, and refused if its recipe changed.
$(R)/%/$(EXPORT): conf/%.yaml | .venv/ready
	$(PY) -m stages.$* fit --config $< $(addprefix --config ,$(call needed,$*)) --out $(R)/$* $($*_INPUT) $(ARGS)

pretrain: $(R)/pretrain/$(EXPORT)  ## learn an encoder from video
cooldown: $(R)/cooldown/$(EXPORT)  ## sharpen it: longer clips, larger frames, falling rate
probe: $(R)/probe/$(EXPORT)        ## read it out, frozen, beside its controls
anticipate: $(R)/anticipate/$(EXPORT)  ## name what happens a second from now, from the frozen encoder and predictor
ac: $(R)/ac/$(EXPORT)              ## learn what a robot's actions do to the frozen encoder's tokens
align: $(R)/align/$(EXPORT)        ## project the frozen encoder's tokens into a language model's words
vlm: $(R)/vlm/$(if $(SCALE),$(EXPORT),scores.json)  ## talk: answer questions about video, beside controls that see less of it
plan: $(R)/plan-$(PROTOCOL)/results.json  ## act: plan to goal images in the demo world, beside baselines; table and film

# What depends on what, one edge per line.
$(R)/pretrain/$(EXPORT): $(if $(SCALE),,data/demo/done.json) $(call overlay,pretrain)
$(R)/cooldown/$(EXPORT): $(R)/pretrain/$(EXPORT) $(call overlay,cooldown)
$(R)/probe/$(EXPORT): $(R)/cooldown/$(EXPORT) $(call overlay,probe)
$(R)/anticipate/$(EXPORT): $(R)/cooldown/$(EXPORT) $(if $(SCALE),,$(EVENTS)) $(call overlay,anticipate)
$(R)/ac/$(EXPORT): $(R)/cooldown/$(EXPORT) $(if $(SCALE),,data/robot/done.json) $(call overlay,ac)
$(R)/clone/$(EXPORT): $(R)/cooldown/$(EXPORT) data/robot/done.json $(call overlay,clone)
$(R)/plan-%/results.json: conf/plan/quick.yaml conf/plan/%.yaml $(R)/ac/$(EXPORT) | .venv/ready
	@OMP_NUM_THREADS=1 $(MAKE) -j2 $(R)/ac-untrained/$(EXPORT) $(R)/clone/$(EXPORT)
	$(PY) -m stages.plan --config conf/plan/quick.yaml $(if $(filter full,$*),--config conf/plan/$*.yaml) --out $(@D) --setting.weights.encoder $(R)/cooldown/$(EXPORT) \
	    --setting.weights.ac $(R)/ac/$(EXPORT) --setting.weights.clone $(R)/clone/$(EXPORT) \
	    --setting.weights.untrained $(R)/untrained/$(EXPORT) --setting.weights.untrained_ac $(R)/ac-untrained/$(EXPORT)
ac_INPUT       = --model.encoder $(R)/cooldown/$(EXPORT)
clone_INPUT    = --model.encoder $(R)/cooldown/$(EXPORT)
cooldown_INPUT = --model.init_from $(R)/pretrain/checkpoints
probe_INPUT    = --model.encoder $(R)/cooldown/$(EXPORT)
anticipate_INPUT = --model.encoder $(R)/cooldown/$(EXPORT)

data: data/demo/done.json data/robot/done.json  ## the demo world's clips and robot episodes: real MP4 files
data/demo/done.json: FORCE | .venv/ready
	@$(PY) -m vjepa record-clips --out data/demo --clips $(CLIPS)
data/robot/done.json: FORCE | .venv/ready
	@$(PY) -m vjepa record-robot --out data/robot --episodes $(EPISODES)
# Episodes of skills with an event log, for anticipation: a seed and a number for each split.
train_EPISODES = --seed 0 --episodes 120
val_EPISODES   = --seed 1 --episodes 20
test_EPISODES  = --seed 2 --episodes 40
$(EVENTS): data/anticipate/%/done.json: FORCE | .venv/ready
	@$(PY) -m vjepa record-clips --out $(@D) --clips 0 $($*_EPISODES)
FORCE:

# Talking: a language model of the demo's own words, the projector, then both; and the same on an untrained encoder.
data/demo/test.jsonl: data/demo/done.json
	@$(PY) -m vjepa record-questions --world data/demo
$(R)/language/config.json: data/demo/test.jsonl | .venv/vlm-ready
	$(PY) -m vjepa tiny-language-model --texts data/demo/captions.jsonl data/demo/train.jsonl --out $(@D)
align = $(PY) -m stages.vlm fit --config conf/align.yaml $(addprefix --config ,$(call needed,align)) --out $(@D) \
    $(if $(SCALE),,--model.language.source $(R)/language) --model.encoder $1 $(ARGS)
vlm   = $(PY) -m stages.vlm fit --config conf/vlm.yaml $(addprefix --config ,$(call needed,vlm)) --out $(@D) \
    --model.encoder $1 --model.init_from $2 $(ARGS)
$(R)/align/$(EXPORT): conf/align.yaml $(R)/cooldown/$(EXPORT) $(if $(SCALE),,$(R)/language/config.json) $(call overlay,align) | .venv/vlm-ready
	$(call align,$(R)/cooldown/$(EXPORT))
$(R)/align-untrained/$(EXPORT): conf/align.yaml $(R)/untrained/$(EXPORT) $(R)/language/config.json | .venv/vlm-ready
	$(call align,$(R)/untrained/$(EXPORT))
$(R)/vlm/$(EXPORT): conf/vlm.yaml $(R)/align/$(EXPORT) $(call overlay,vlm)
	$(call vlm,$(R)/cooldown/$(EXPORT),$(R)/align/$(EXPORT))
$(R)/vlm-untrained/$(EXPORT): conf/vlm.yaml $(R)/align-untrained/$(EXPORT)
	$(call vlm,$(R)/untrained/$(EXPORT),$(R)/align-untrained/$(EXPORT))
$(R)/vlm/scores.json: $(R)/vlm/$(EXPORT) $(R)/vlm-untrained/$(EXPORT)
	$(PY) -m vjepa evaluate --model $(R)/vlm --random $(R)/vlm-untrained --questions data/demo/test.jsonl --out $@

# The control of acting: the same on an encoder that was never trained.
$(R)/untrained/$(EXPORT): $(R)/cooldown/$(EXPORT)
	@$(PY) -m vjepa untrained --encoder $< --out $@
$(R)/ac-untrained/$(EXPORT): conf/ac.yaml $(R)/untrained/$(EXPORT)
	$(PY) -m stages.ac fit --config $< --out $(R)/ac-untrained --model.encoder $(R)/untrained/$(EXPORT) $(ARGS)

# Test clips of a seed that nothing else uses: no decision has seen them.
evidence: data/demo/done.json  ## does pretraining help? three seeds beside random encoders, table and figure; under an hour
	@$(PY) -m vjepa record-clips --out data/evidence --clips 480 --val 0 --test 1 --seed 1000
	@for seed in 0 1 2; do run=runs/evidence-seed$$seed; \
	    $(MAKE) cooldown RUN=evidence-seed$$seed ARGS="--seed_everything $$seed $(ARGS)" && \
	    $(PY) -m stages.cooldown fit --config conf/cooldown.yaml --model.init_from $$run/pretrain/checkpoints --out $$run/constant \
	        --seed_everything $$seed $(CONSTANT) $(ARGS) || exit 1; done
	@$(PY) -m scripts.evidence --runs '[runs/evidence-seed0,runs/evidence-seed1,runs/evidence-seed2]' --score data/evidence/test.csv
# Instead of a cooldown: its compute (a step of it costs 2.05 of pretraining) spent on more steps like those of pretraining.
CONSTANT = --data.clip.frames 8 --data.clip.size 64 --model.optim.lr.final 3.0e-3 --model.optim.lr.decay 1 --trainer.max_steps 600 \
    --trainer.val_check_interval 600 --checkpoint.every_n_train_steps 200

sweep:
	@for seed in $(SEEDS); do $(MAKE) probe RUN=$(RUN)-seed$$seed ARGS="--seed_everything $$seed $(ARGS)" || exit 1; done
	@$(PY) -m vjepa report $(foreach seed,$(SEEDS),runs/$(RUN)-seed$(seed)/probe/scores.json)

tensorboard: .venv/ready  ## curves and pictures of all runs, in the browser
	$(PY) -m tensorboard.main --load_fast=false --logdir runs

setup: .venv/ready  ## the virtual environment, and nothing else
.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else \
	    f"Python 3.11 to 3.13 is needed, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	@echo "Installing the Python packages into .venv; a minute or more ..."
	@$(PYTHON) -m venv .venv
	@$(pip) -e '.[sim,plot]'
	@touch $@
.venv/vlm-ready: .venv/ready
	@$(pip) -e '.[sim,plot,vlm]'
	@touch $@
.venv/test-ready: .venv/ready
	@$(pip) -e '.[sim,plot,hf,vlm,test]'
	@touch $@

clean:  ## remove this RUN's folder (data and environment stay)
	rm -rf $(R)

.PHONY: FORCE help demo test data sweep evidence tensorboard setup clean plan $(STAGES)
.DEFAULT_GOAL := help
