"""Closed-loop episodes in the demo world: a policy acts, and the simulator judges if it reached its goal.

tasks           where an episode starts, which images are its goals, what success is
script_goals    goals, their images and true states, from what a script does
policies        planning, behaviour cloning, no-op, random, the script; the simulator as a world model
setting         which policies act, with which weights, in which worlds, and how they plan
unused_actions  a note if the weights of a planner do not use actions
episodes        plays one episode
parallel        plays many episodes over several processes
episode_log     outcomes on disk, so that an interrupted evaluation goes on
evaluation      which policies play which tasks in which worlds
results         outcomes as rows of a table
show            the command `plan`: one episode, and its film
film            a film of one episode
tensorboard     tables, film and an energy landscape for TensorBoard
held_out_steps  energy landscapes of recorded steps
true_state      the simulator as a world model whose energy compares true states
diagnosis       the command `diagnose-planning`: what limits the planner?
diagnosed_episode   one episode of a planner with its searches watched
planner_measures    progress of samples, ranks of energies, kinds of lost episodes
diagnosis_table     diagnosed episodes as rows of a table, which `diagnosis_figure` draws
"""
