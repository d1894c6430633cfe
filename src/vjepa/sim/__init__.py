"""The demo world: a simulated robot arm, recordings of it, and closed-loop episodes in it. Needs MuJoCo.

world        the arm, the table and what stands on it, physics and images
recording    labelled clips, scripted episodes, robot episodes, questions about them
closed_loop  policies that act in the world, and how often they reach their goals
"""

from vjepa.errors import UserError

try:
    import mujoco  # noqa: F401
except ImportError as error:
    raise UserError("the demo world needs mujoco; pip install 'vjepa[sim]'") from error
