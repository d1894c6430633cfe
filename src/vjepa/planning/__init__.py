"""Planning towards goals with an action-conditioned world model (V-JEPA 2, section 4).

world_model         encode, predict, rollout, energy: the networks as a planner sees them
energy              how far predicted tokens are from a goal's
bounds              where actions must lie
cem                 the search for actions of least energy, by sampling
mpc                 plan, execute, observe, plan again: a policy for one episode
landscape           the energy over a plane of actions, as numbers and as an image
recorded_landscape  the command that computes one from a recorded trajectory
"""
