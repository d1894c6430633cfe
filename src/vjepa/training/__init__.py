"""What the stages share.

stage_cli             one command line for every stage: settings, Trainer, export
finish                the end of a fit: last checkpoint, test, export
export_info           what an export says of its training: steps, seed, data, licence, scores
trainer_settings      which settings of Lightning's Trainer a stage refuses, or carries out in its own way
loggers               TensorBoard in a run's folder; tables that a second start does not delete
checkpoint_files      checkpoints are complete and on the disk, or not there, whatever TMPDIR is
kept_checkpoints      which checkpoints stay: the newest two, the best, the last good one
alarms                the collapse alarm of pretraining
loss_guard            the guard of every run: numbers that are not finite, jumps, divergence
stage_parser          its parser: plain sentences, plain lists, old class paths
run_folder            the folder of a run: its recipe, its checkpoints, whether it is finished
run_inputs            digests of a run's weights and data, which belong to it as its recipe does
starting_point        which checkpoint a command begins with; a fit claims its folder
processes             are there as many as the recipe asks for? the first one decides where all begin
checkpoint_settings   which settings of Lightning's ModelCheckpoint work
quiet                 warnings that do not apply
moved                 class paths of old recipes, and where the classes are today
averaged_stage        the base of stages that train an encoder beside its moving average
frozen_stage          the base of stages on a frozen encoder
grid_stage            the base of stages that train a grid of heads on a frozen encoder
state_reading         what a reader of the arm's state is trained and scored on
frame_tokens          tokens of robot trajectories, encoded with every batch or kept on disk
trajectory_settings   checks of stages on robot trajectories
machine               what a run computes on, and how a step is cut: both may change on resume
sharded               FSDP2: weights, gradients and moments shared out over the devices
mask_groups           which masks a batch of pretraining gets
warm_start            start from another run's weights
optim                 AdamW, and schedules as functions of the step
grid_optim            AdamW for a grid of heads
progress              one line of progress, on a terminal and in a log
step_timer            how long steps take, and the share of waiting for data
forecast              what a run will take, before it and after its first steps
closing_lines         the score beside its control and the next command, when a stage is finished
tensorboard_layout    the order of curves in TensorBoard, the recipe and the networks as text
projector             clips with thumbnails in TensorBoard's embedding projector
label_free_monitor    after pretraining on video without labels: did it learn anything?
monitors              monitors of every run: optimiser, speed, bad files
signals               what a signal does: save after the step, on all devices, and end
watch                 a thread that hears signals, misses lost processes, and ends what does not answer
pretraining_monitors  monitors of pretraining: collapse, read-outs, loss by distance in time
pretraining_outputs   what a step of pretraining returns: its loss, its parts, and what monitors show
pretraining_checks    whether the settings of a pretraining agree with each other and with its data
image_monitor         films of masks and images of tokens while pretraining
sweep                 the command `sweep`: recipes side by side, over seeds
"""

from vjepa import torchvision_ops  # noqa: F401  before anything imports torchvision
