"""A robot arm on a table that pip alone can run: MuJoCo physics, ray-cast pictures, no graphics stack.

python -m vjepa.data.demo_world --out DIR      labelled motion clips in time-reversed pairs, and scripted episodes
python -m vjepa.data.demo_world.bench          how fast it renders, simulates and encodes on this machine
python -m vjepa.data.demo_world.gallery        a PNG with one filmstrip per class

Shapes of the world: `scene` says what stands where and how it looks, `arm` moves, `render` shows, `env` is the Gymnasium
interface, `skills` the scripts and the event log, `clips` the labelled motions, `record` writes them to files.
"""

try:
    import mujoco  # noqa: F401
except ImportError as error:
    raise ImportError("The demo world needs MuJoCo: install it with pip install 'vjepa[sim]'.") from error
