"""Networks: plain torch modules, each built from one frozen config dataclass that stands in the same file.

encoder        clips to tokens: the vision transformer that everything else reads
predictor      the predictor of pretraining: fills dropped tokens from kept ones
ac_predictor   the action-conditioned predictor: the next frame's tokens from past frames, actions and states
step_cache     its attention over steps, and the cache of past steps
probe          the attentive probe: tokens to classes
probe_grid     many probes that differ in their optimiser's settings, trained at once
anticipation   the probe of coming actions, and predicted tokens of a moment that was not seen
projector      tokens to the embeddings of a language model
state_reader   tokens to the arm's state: where the hand is, and whether the gripper closes
cloned_policy  the behaviour-cloning baseline: tokens of now and of the goal to an action
decoder        tokens of a frame to a picture of it
layers         attention, perceptron and block, and their initial weights
rope           rotary position embedding
grid           the token grid, and picking and merging tokens
frozen         networks that do not train
device         the device of torch that a command's `--device` names
"""
