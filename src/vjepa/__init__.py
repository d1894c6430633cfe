"""V-JEPA 2 as a library of nouns; the verbs are in `stages`.

models      encoder, predictor, attentive probe: plain torch modules that take one config dataclass each
data        manifests, decoding by timestamp, clips, data modules, the demo world
planning    world model, cross-entropy method, receding horizon, energy landscapes, tasks of the demo world
pose        rigid poses and their deltas, and what a robot's states and actions mean
objectives  losses of the action-conditioned predictor
masks       which tubelets the encoder sees and which the predictor fills
optim, ema  schedules as pure functions of the step; the target encoder
checkpoint  export and strict loading, bridges to the released weights
keymaps     how other people's checkpoints name our tensors
metrics     collapse telemetry
readout     what a frozen encoder tells about labelled clips
callbacks   what Lightning calls: monitors, read-outs; `pictures` draws
sweep       several recipes side by side; `evidence` is the proof that pretraining helps
frozen      what stages on a frozen encoder have in common
cli         one command line for every stage

Axis alphabet, for einops patterns and shapes alike: `b` clips in the batch; `c` channels; `t h w` frames and pixels (in a
patchify pattern: the part inside one tubelet); `T H W` the token grid; `n` tokens of a clip = T*H*W; `k` / `m` kept and
dropped tokens; `d` width; `e` width per head; `s` sampled plans; `a` action dimensions. Capital = counted on the grid.
"""

from vjepa import torchvision_ops  # noqa: F401  before anything imports torchvision
