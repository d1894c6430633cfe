"""Robot recordings: poses, what states and actions mean, episodes, windows of them, and their data module.

euler            Euler angles and rotation matrices, in torch and in numpy
schema           what the numbers of a state and of an action mean
pose             from two states to the action between them, and back
episodes         the contract: what a reader returns, whatever the format of the recording
left_out         what of a dataset is not used, and why
episode_checks   which episodes hold numbers that a robot can have measured
readers          one reader for each recording format
windows          what a window is, and reading one from an episode
window_batches   one window as tensors, and a batch of them
window_datasets  windows for training, endless and random, and for evaluation, fixed
hand_view        where a camera sees the hand, and the square of its picture around the hand
hand_windows     windows whose images are these squares
cached_windows   windows as tokens of a frozen encoder, from a cache on disk
trajectory_data  the data module: datasets in, batches of windows out
"""

from vjepa import torchvision_ops  # noqa: F401  before anything imports torchvision
