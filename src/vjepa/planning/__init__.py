"""Planning towards goals with an action-conditioned world model (V-JEPA 2, section 4).

world_model         encode, predict, rollout, energy: the networks as a planner sees them
reading_world       a world model whose energy also compares the arm's state, as read from the pictures
load                the world model of two files of weights
imagining           a predictor beside recorded episodes, whose schema and rate it must share
fit                 checks that encoder, predictor, schema and images fit each other
energy              how far predicted tokens are from a goal's
bounds              where actions must lie
cem                 the search for actions of least energy, by sampling
mpc                 plan, execute, observe, plan again: a policy for one episode
landscape           the energy over a plane of actions
landscape_figure    the picture of it
recorded_landscape  the command that computes one from a recorded trajectory
"""

from vjepa import torchvision_ops  # noqa: F401  before anything imports torchvision
