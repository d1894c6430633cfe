"""The demo world: a simulated robot arm, its recordings, and closed-loop episodes in it. Needs MuJoCo."""

try:
    import mujoco  # noqa: F401
except ImportError as error:
    raise ImportError("The demo world needs MuJoCo: install it with pip install 'vjepa[sim]'.") from error
