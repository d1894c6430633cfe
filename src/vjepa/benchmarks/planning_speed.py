"""python -m vjepa bench-planning: seconds for one plan, and what keeping keys and values saves over recomputing them."""

import time
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.planning.cem import CEMConfig, Energy, cem
from vjepa.planning.world_model import WorldModel, WorldModelConfig, distance


def seconds(work: Callable[[], object], device: str) -> float:
    """Wall time of some work, finished on the device."""
    work_starts = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - work_starts


def recomputed(world: WorldModel, tokens: Tensor, state: Tensor, goal: Tensor) -> Energy:
    """The same energy by running all steps so far again for each new one, as the public code does."""

    @torch.no_grad()
    def of(actions: Float[Tensor, "s T a"]) -> Float[Tensor, " s"]:
        n, size = tokens.shape[1], world.chunk(tokens.shape[1], actions.shape[1])
        states, energies = world.states(state.expand(len(actions), -1), actions), []
        for some, where in zip(actions.split(size), states.split(size), strict=True):
            film = tokens.expand(len(some), -1, -1)
            for k in range(1, some.shape[1] + 1):
                film = torch.cat([film, world.ac(film, some[:, :k], where[:, :k])[:, -n:]], dim=1)
            energies.append(distance(film[:, -n:], goal))
        return torch.cat(energies)

    return of


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
    """Print what a plan with random weights takes, for several horizons; the sizes are the demo's.

    Args:
        width: Of the action-conditioned predictor.
        depth: Its blocks.
        heads: Its heads.
        merge: Side of the squares of tokens that pass through it as one.
        encoder_width: Width of a frame's tokens.
        tokens: Tokens of a frame, a square number.
        samples: SampleAnswers of an iteration.
        iterations: Iterations of a plan. Without the cache only one is run, and counted as many times.
        horizons: Actions in a plan.
        memory: GiB for the samples rolled out at once; by default what WorldModelConfig says.
        device: cpu or cuda.
    """
    config = EncoderConfig(width=encoder_width, depth=1, heads=heads, mlp_width=encoder_width)
    ac = ACPredictor(
        ACPredictorConfig(width=width, depth=depth, heads=heads, mlp_width=4 * width, merge=merge), config
    )
    world = WorldModel(Encoder(config).to(device), ac.to(device), WorldModelConfig(memory))
    start = (torch.randn(1, tokens, encoder_width, device=device), torch.zeros(1, 7, device=device))
    goal = torch.randn(1, tokens, encoder_width, device=device)
    kept, again = world.energy(*start, goal), recomputed(world, *start, goal)
    print(
        "horizon   chunk   s/plan   samples/s   s/plan without cache   ratio   largest difference of an energy"
    )
    for horizon in horizons:
        generator = torch.Generator(device).manual_seed(0)
        actions = 0.05 * torch.randn(samples, horizon, 7, generator=generator, device=device)
        difference = float((kept(actions) - again(actions)).abs().max())  # this also warms up
        plan = CEMConfig(samples=samples, iterations=iterations, top=min(10, samples), horizon=horizon)
        took = seconds(lambda: cem(kept, plan, generator=generator), device)
        slow = iterations * seconds(lambda: again(actions), device)
        rate, chunk = samples * iterations / took, world.chunk(tokens, horizon)
        print(
            f"{horizon:7d} {chunk:7d} {took:8.2f} {rate:11.0f} {slow:22.2f} {slow / took:7.2f}   {difference:.1e}"
        )
