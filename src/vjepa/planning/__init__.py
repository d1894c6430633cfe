"""Planning towards goals with an action-conditioned world model (V-JEPA 2, section 4).

world_model         encode, predict, rollout, energy: the networks as a planner sees them
load                the world model of two files of weights
fit                 checks that encoder, predictor, schema and images fit each other
energy              how far predicted tokens are from a goal's
bounds              where actions must lie
cem                 the search for actions of least energy, by sampling
mpc                 plan, execute, observe, plan again: a policy for one episode
landscape           the energy over a plane of actions
landscape_figure    the picture of it
recorded_landscape  the command that computes one from a recorded trajectory
"""
