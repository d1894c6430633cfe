"""The command `bench planning`: seconds for one plan, and what keeping keys and values saves.

    vjepa bench planning --horizons 1 2 4

The comparison is with running the predictor again over all steps so far for every new one, as the public code
does.
"""

import math
import time
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import check_positive, require
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.device import find_device
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.planning.cem import CEMConfig, cem
from vjepa.planning.energy import Energy, distance
from vjepa.planning.world_model import WorldModel, WorldModelConfig
from vjepa.robots.schema import END_EFFECTOR

HEADER = (
    "horizon   chunk   s/plan   samples/s   s/plan without cache   ratio   largest difference of an energy"
)


def bench_planning(
    *,
    width: int = 128,
    depth: int = 3,
    heads: int = 4,
    merge: int = 2,
    encoder_width: int = 64,
    tokens: int = 64,
    samples: int = 800,
    iterations: int = 10,
    horizons: tuple[int, ...] = (1, 2, 4),
    memory: float | None = None,
    device: str = "cpu",
) -> None:
    """Print how long a plan with random weights takes, by horizon; the default sizes are the demo's.

    Args:
        width: Width of the action-conditioned predictor.
        depth: Blocks of the predictor.
        heads: Attention heads of the predictor.
        merge: Side of the squares of tokens that pass through the predictor as one.
        encoder_width: Width of a frame's tokens.
        tokens: Tokens of a frame, a square number.
        samples: Samples of an iteration.
        iterations: Iterations of a plan. Without the cache only one is run, and its time is multiplied.
        horizons: Actions in a plan.
        memory: GiB for the samples rolled out at once; by default what WorldModelConfig says.
        device: cpu or cuda.
    """
    check_positive(width=width, depth=depth, heads=heads, merge=merge, encoder_width=encoder_width)
    check_positive(tokens=tokens, samples=samples, iterations=iterations, memory=memory)
    require(min(horizons, default=0) > 0, f"--horizons {horizons}: give numbers of 1 or more")
    device = str(find_device(device))
    side = math.isqrt(tokens)
    fits = side**2 == tokens and side % merge == 0
    require(fits, f"--tokens {tokens}: give the square of a multiple of --merge {merge}")
    # The encoder never runs, since a plan encodes only two frames. Its config gives the tokens' width.
    encoder = EncoderConfig(width=encoder_width, depth=1, heads=heads, mlp_width=encoder_width)
    predictor = ACPredictorConfig(width=width, depth=depth, heads=heads, mlp_width=4 * width, merge=merge)
    ac = ACPredictor(predictor, encoder).to(device)
    world = WorldModel(Encoder(encoder).to(device), ac, END_EFFECTOR, WorldModelConfig(memory))
    # Time does not depend on the values, so tokens, goal and actions are random.
    now = torch.randn(1, tokens, encoder_width, device=device)
    state = torch.zeros(1, 7, device=device)
    goal = torch.randn(1, tokens, encoder_width, device=device)
    with_cache = world.energy(now, state, goal)
    without_cache = energy_without_cache(world, now, state, goal)

    print(HEADER)
    for horizon in horizons:
        # The paper keeps the 10 best of 800 samples.
        plan = CEMConfig(samples=samples, iterations=iterations, top=min(10, samples), horizon=horizon)
        print(compare(with_cache, without_cache, plan, world.chunk_size(tokens, horizon), device))


def compare(with_cache: Energy, without_cache: Energy, plan: CEMConfig, chunk: int, device: str) -> str:
    """One line of the table: the same plan with both energies."""
    generator = torch.Generator(device).manual_seed(0)
    actions = torch.randn(plan.samples, plan.horizon, 7, generator=generator, device=device) * 0.05
    # Both energies run once before anything is timed: the first calls are slower.
    difference = float((with_cache(actions) - without_cache(actions)).abs().max())
    fast = seconds(lambda: cem(with_cache, plan, generator=generator), device)
    slow = plan.iterations * seconds(lambda: without_cache(actions), device)
    rate = plan.samples * plan.iterations / fast
    timings = f"{fast:8.2f} {rate:11.0f} {slow:22.2f} {slow / fast:7.2f}"
    return f"{plan.horizon:7d} {chunk:7d} {timings}   {difference:.1e}"


def energy_without_cache(world: WorldModel, tokens: Tensor, state: Tensor, goal: Tensor) -> Energy:
    """The same energy as `world.energy`, but every new step computes all steps so far again.

    tokens: tokens of the present frame (1, n, d).
    state: the robot's state (1, 7).
    goal: tokens of the goal image (1, n, d).
    """

    @torch.no_grad()
    def energy_of(actions: Float[Tensor, "s T a"]) -> Float[Tensor, " s"]:
        n = tokens.shape[1]
        # Chunks of the same size as with the cache, so that only the cache differs.
        size = world.chunk_size(n, actions.shape[1])
        states = world.states_along(state.expand(len(actions), -1), actions)
        energies = []
        for chunk, chunk_states in zip(actions.split(size), states.split(size), strict=True):
            frames = tokens.expand(len(chunk), -1, -1)
            for step in range(1, chunk.shape[1] + 1):
                # Every frame so far is predicted again; only the last prediction is new.
                predictions = world.ac(frames, chunk[:, :step], chunk_states[:, :step])
                frames = torch.cat([frames, predictions[:, -n:]], dim=1)
            energies.append(distance(frames[:, -n:], goal))
        return torch.cat(energies)

    return energy_of


def seconds(work: Callable[[], object], device: str) -> float:
    """Wall time of a piece of work, until the device has finished it."""
    start = time.perf_counter()
    work()
    # Calls return before the GPU has finished.
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
