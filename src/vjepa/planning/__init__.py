"""Planning to goal images with an action-conditioned world model (V-JEPA 2, section 4)."""

from vjepa.planning.cem import ActionBounds, CEMConfig, Plan, Statistics, cem
from vjepa.planning.landscape import Landscape, LandscapeConfig, energy_landscape
from vjepa.planning.mpc import MPC, MPCConfig
from vjepa.planning.world_model import WorldModel, WorldModelConfig

__all__ = [
    "MPC",
    "ActionBounds",
    "CEMConfig",
    "Landscape",
    "LandscapeConfig",
    "MPCConfig",
    "Plan",
    "Statistics",
    "WorldModel",
    "WorldModelConfig",
    "cem",
    "energy_landscape",
]
