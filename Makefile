# The story of the project, top to bottom. `make help` lists the targets and the variables.
PYTHON   ?= python3
RUN      ?= demo
CLIPS    ?= 1600
EPISODES ?= 800
PROTOCOL ?= quick
TEACHER  ?= runs/teacher/pretrain/$(EXPORT)
EPISODES_train ?= --seed 0 --episodes 120
EPISODES_val   ?= --seed 1 --episodes 20
EPISODES_test  ?= --seed 2 --episodes 40
PY     := .venv/bin/python
R      := runs/$(RUN)
EXPORT := model.safetensors
STAGES := pretrain cooldown distil probe anticipate ac state clone decode align vlm
DEMO   := $(if $(SCALE)$(TASK),,yes)
EVENTS := $(foreach split,train val test,data/anticipate/$(split)/done.json)
pip     = $(PY) -m pip install -q --disable-pip-version-check -c constraints.txt
MAKEFLAGS += --no-print-directory
help:  ## this page
	@awk -F ':.*## ' '/^[a-z].*:.*## / {printf "  %-12s %s\n", $$1, $$2} /^#  / {print substr($$0, 2)}' $(MAKEFILE_LIST)
#  RUN    folder under runs/ (demo)          ARGS      for every stage's command line; give them again to continue
#  SCALE  folder under conf/scale: a size    TASK      folder under conf/task: a data set
#  CLIPS  size of the demo's data (1600)     EPISODES  robot episodes of the demo (800)
#  SEEDS  with demo: a run for each seed     PROTOCOL  of plan: quick or full (quick)
#  TEACHER  weights of distil's teacher      PYTHON    makes .venv (python3)
demo: $(if $(SEEDS),.venv/ready,probe)  ## everything: set-up, data, pretrain, cooldown, probe, and the table of scores
	@$(if $(SEEDS),ARGS="$(ARGS)" scripts/seeds.sh $(RUN) $(SEEDS),echo && $(PY) -m vjepa report $(R)/probe/scores.json)
	@echo "Finished stages are not run again. Curves and images: make tensorboard"
test: .venv/test-ready  ## all tests, the slow ones too
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal $(ARGS)
overlay  = $(wildcard $(TASK:%=conf/task/%/$1.yaml) $(SCALE:%=conf/scale/%/$1.yaml))
both     = conf/task/$(or $(TASK),TASK)/$1.yaml conf/scale/$(or $(SCALE),SCALE)/$1.yaml
own_data = $(findstring train:,$(shell cat conf/scale/$(SCALE)/$1.yaml 2>/dev/null))
either   = conf/$(if $(TASK),task/$(TASK),scale/$(SCALE))/$1.yaml
absent   = $(if $(DEMO),,$(filter-out $(overlay),$(if $(filter pretrain cooldown distil,$1),$(if $(own_data),,$(both)),$(either))))
recipe   = conf/$1.yaml $(overlay) $(if $(absent),$(error $1 of $(R) is not finished, and to run it needs $(absent); see docs/cluster.md))
encoder  = --model.encoder $(R)/$(if $(findstring untrained,$@),untrained,cooldown)/$(EXPORT)
fit      = $(PY) -m stages.$(1:align=vlm) fit $(addprefix --config ,$(recipe)) --out $(@D) $(if $(filter-out pretrain,$1),$(or $($1_INPUT),$(encoder))) $(ARGS)
cooldown_INPUT = --model.init_from $(R)/pretrain/checkpoints
distil_INPUT   = --model.teacher $(TEACHER)
decode_INPUT   = $(encoder) --model.ac $(R)/ac/$(EXPORT)
align_INPUT    = $(if $(DEMO),--model.language.source $(R)/language) $(encoder)
vlm_INPUT      = $(encoder) --model.init_from $(subst vlm,align,$@)
$(R)/%/$(EXPORT): conf/%.yaml | .venv/ready
	$(call fit,$*)
$(R)/%-untrained/$(EXPORT): conf/%.yaml $(R)/untrained/$(EXPORT) | .venv/ready
	$(call fit,$*)
$(R)/untrained/$(EXPORT): $(R)/cooldown/$(EXPORT)
	@$(PY) -m vjepa weights untrained --encoder $< --out $@
pretrain: $(R)/pretrain/$(EXPORT)  ## learn an encoder from video
cooldown: $(R)/cooldown/$(EXPORT)  ## sharpen it: longer clips, larger frames, falling rate
distil: $(R)/distil/$(EXPORT)  ## a small encoder learns from a frozen, larger one
probe: $(R)/probe/$(EXPORT)  ## read the frozen encoder, beside controls
anticipate: $(R)/anticipate/$(EXPORT)  ## name what happens a second from now, from the frozen encoder and predictor
ac: $(R)/ac/$(EXPORT)  ## predict the frozen encoder's tokens after a robot's action
state: $(R)/state/$(EXPORT)  ## read the arm's state from the frozen encoder, for planning
clone: $(R)/clone/$(EXPORT)  ## behaviour cloning, a baseline of planning
decode: $(R)/decode/$(EXPORT)  ## see what tokens hold and what the model imagines: tokens to pictures
plan: $(R)/plan-$(PROTOCOL)/results.json  ## plan to goal images in the demo world, beside baselines
align: $(R)/align/$(EXPORT)  ## project the frozen encoder's tokens into a language model's words
vlm: $(R)/vlm/$(if $(DEMO),scores.json,$(EXPORT))  ## answer questions about video, beside controls
$(foreach stage,$(STAGES),$(eval $(R)/$(stage)/$(EXPORT): $(call overlay,$(stage))))
$(R)/pretrain/$(EXPORT): $(if $(DEMO),data/demo/done.json)
$(R)/cooldown/$(EXPORT): $(R)/pretrain/$(EXPORT)
$(R)/distil/$(EXPORT): $(TEACHER)
$(if $(filter teacher,$(RUN)),,$(eval runs/teacher/pretrain/$(EXPORT): | data/demo/done.json ; $$(MAKE) pretrain SCALE=teacher TASK= RUN=teacher))
$(R)/probe/$(EXPORT) $(R)/align/$(EXPORT): $(R)/cooldown/$(EXPORT)
$(R)/anticipate/$(EXPORT): $(R)/cooldown/$(EXPORT) $(if $(DEMO),$(EVENTS))
$(R)/ac/$(EXPORT) $(R)/state/$(EXPORT) $(R)/clone/$(EXPORT): $(R)/cooldown/$(EXPORT) $(if $(DEMO),data/robot/done.json)
$(R)/decode/$(EXPORT): $(R)/ac/$(EXPORT)
$(R)/align/$(EXPORT) $(R)/align-untrained/$(EXPORT): $(if $(DEMO),$(R)/language/config.json) | .venv/vlm-ready
$(foreach vlm,vlm vlm-untrained,$(eval $(R)/$(vlm)/$(EXPORT): $(R)/$(subst vlm,align,$(vlm))/$(EXPORT)))
$(R)/vlm/scores.json: $(R)/vlm/$(EXPORT) $(R)/vlm-untrained/$(EXPORT)
	$(PY) -m vjepa evaluate --model $(R)/vlm --random $(R)/vlm-untrained --questions data/demo/test.jsonl --out $@
$(R)/plan-%/results.json: conf/plan/quick.yaml conf/plan/%.yaml $(R)/ac/$(EXPORT) $(R)/state/$(EXPORT) | .venv/ready
	@OMP_NUM_THREADS=1 $(MAKE) -j2 $(foreach stage,ac-untrained state-untrained clone,$(R)/$(stage)/$(EXPORT))
	$(PY) -m stages.plan --config conf/plan/quick.yaml $(if $(filter full,$*),--config conf/plan/$*.yaml) --out $(@D) \
	    $(foreach name,encoder=cooldown $(foreach part,ac state clone,$(part)=$(part)) untrained=untrained $(foreach part,ac state,untrained_$(part)=$(part)-untrained),--setting.weights.$(subst =, $(R)/,$(name))/$(EXPORT))
data: data/demo/done.json data/robot/done.json  ## the demo world's clips and robot episodes: real MP4 files
data/demo/done.json: FORCE | .venv/ready ; @$(PY) -m vjepa data record-clips --out data/demo --clips $(CLIPS)
data/robot/done.json: FORCE | .venv/ready ; @$(PY) -m vjepa data record-robot --out data/robot --episodes $(EPISODES)
$(EVENTS): data/anticipate/%/done.json: FORCE | .venv/ready
	@$(PY) -m vjepa data record-clips --out $(@D) --clips 0 $(EPISODES_$*)
data/demo/test.jsonl: data/demo/done.json ; @$(PY) -m vjepa data record-questions --world data/demo
$(R)/language/config.json: data/demo/test.jsonl | .venv/vlm-ready
	$(PY) -m vjepa weights tiny-language-model --texts data/demo/captions.jsonl data/demo/train.jsonl --out $(@D)
evidence: data/demo/done.json  ## does pretraining help? three seeds beside random encoders; under an hour
	@ARGS="$(ARGS)" scripts/evidence.sh
tensorboard: .venv/ready  ## curves and images of all runs, in the browser
	$(PY) -m tensorboard.main --load_fast=false --logdir runs
docs: .venv/docs-ready  ## the handbook as a site, in site/; a dead link fails
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet --strict
setup: .venv/ready  ## the virtual environment, and nothing else
.venv/ready: pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" scripts/make_venv.sh && $(pip) -e '.[sim,plot]' && touch $@
.venv/%-ready: .venv/ready
	@$(pip) -e '.[sim,plot,$*]' && touch $@
clean:  ## remove this RUN's folder (data and environment stay)
	rm -rf $(R)
.PHONY: FORCE help demo test docs data evidence tensorboard setup clean plan $(STAGES)
