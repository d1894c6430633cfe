"""A robot arm on a table that pip alone can run: MuJoCo physics, ray-cast pictures, no graphics stack.

python -m vjepa.data.demo_world --out DIR      labelled motion clips in time-reversed pairs, and scripted episodes
python -m vjepa.data.demo_world.bench          how fast it renders, simulates and encodes on this machine
python -m vjepa.data.demo_world.gallery        a PNG with one filmstrip per class

`scene` says what stands where, `looks` how it looks and who looks, `panda` is the arm's model; `arm` moves, `render` shows;
`env` is the Gymnasium-style interface; `skills` are scripts for it, `director` runs them and keeps the event log,
`episodes` strings them together; `clips` are the labelled motions; `record` writes all to files, through `video`.
"""

try:
    import mujoco  # noqa: F401
except ImportError as error:
    raise ImportError("The demo world needs MuJoCo: install it with pip install 'vjepa[sim]'.") from error
