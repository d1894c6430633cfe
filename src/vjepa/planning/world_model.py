"""What a planner needs from the networks: encode, predict, rollout, energy (V-JEPA 2, section 3.2).

    world = load_world_model("encoder.safetensors", "ac.safetensors")     # vjepa.planning.load
    tokens = world.encode(image[None])
    plan = cem(world.energy(tokens, state, world.encode(goal[None])), CEMConfig(), generator=generator)

Networks are frozen, and nothing here keeps gradients.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import require
from vjepa.models.ac_predictor import ACPredictor
from vjepa.models.encoder import Encoder, encode_frames
from vjepa.planning.energy import Energy, distance
from vjepa.planning.fit import check_fit, check_images
from vjepa.robots.pose import pose_apply
from vjepa.robots.schema import StateSchema

GIB = 2**30
PAPER_SCALES = (1,)
"""Equation 5 compares single tokens."""
CPU_MEMORY = 0.1
"""GiB for samples on a CPU: chunks that do not fit the caches are slower (measured: by half at 1 GiB)."""


@dataclass(frozen=True)
class WorldModelConfig:
    """Memory of a rollout, and how tokens are compared."""

    memory: float | None = None
    """GiB, about, for the samples that are rolled out at once; the others wait. Not given: half of what the
    GPU has free, or 0.1 on a CPU, where a chunk larger than the processor's caches is slower."""
    scales: tuple[int, ...] | None = None
    """Sides of the squares of tokens that are averaged before they are compared; the energies of all scales
    are added. (1,) as in the paper; (1, 2, 4) also measures how far apart two arms are that share no token.
    Not given: those that the weights name."""

    def __post_init__(self) -> None:
        require(
            self.memory is None or 0 < self.memory < 1e6,
            f"world_model.memory={self.memory} GiB: give a positive number that a machine has",
        )
        require(
            self.scales is None or (bool(self.scales) and min(self.scales) > 0),
            f"world_model.scales={self.scales}: give sides of squares of tokens; (1,) is the paper's",
        )


class WorldModel:
    """A frozen encoder and an action-conditioned predictor, seen as a simulator in the space of tokens.

    Tokens are those of one frame, `n = H*W`. The state follows the actions by `pose_apply` under `schema`, on
    the device and for all samples at once. Under `torch.autocast` the networks run, and keep their past, in
    its precision.
    """

    def __init__(
        self,
        encoder: Encoder,
        ac: ACPredictor,
        schema: StateSchema,
        config: WorldModelConfig = WorldModelConfig(),
        size: int | None = None,
    ) -> None:
        """
        Args:
            encoder: Makes the tokens of a frame.
            ac: Predicts the tokens of the next frame.
            schema: What the numbers of states and actions mean: the one that the predictor was trained under.
            config: Memory, and how tokens are compared; without scales, as in the paper.
            size: Height and width, pixels, of the images that the predictor was trained on, if known.

        Raises UserError if the predictor is of another encoder or schema, or needs the camera's pose.
        """
        check_fit(encoder, ac, schema)
        self.encoder = encoder.eval()
        self.ac = ac.eval()
        self.schema = schema
        self.size = size
        self.scales = config.scales or PAPER_SCALES
        self.memory = config.memory or default_memory(next(ac.parameters()).device)

    @torch.no_grad()
    def encode(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """Layer-normed tokens of normalised images, each encoded alone.

        Raises UserError for another layout, type or size of the images.
        """
        check_images(image, self.size)
        # A video of one frame: the encoder repeats it to fill a tubelet.
        return encode_frames(self.encoder, image[:, :, None])

    def predict(
        self, tokens: Float[Tensor, "b n d"], state: Float[Tensor, "b Ds"], action: Float[Tensor, "b a"]
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b Ds"]]:
        """Tokens and state one action later."""
        return self.rollout(tokens, state, action[:, None]), self.next_state(state, action)

    @torch.no_grad()
    def rollout(
        self,
        tokens: Float[Tensor, "#s n d"],
        state: Float[Tensor, "#s Ds"],
        actions: Float[Tensor, "s T a"],
        every_step: bool = False,
    ) -> Float[Tensor, "s m d"]:
        """Tokens after T actions (m = n), or with `every_step` after each of them in (T H W) order (m = T*n).

        One start may serve all samples.
        """
        # The predictor always returns all steps; a chunk at a time is cut to what is wanted.
        kept = 0 if every_step else -tokens.shape[1]
        return torch.cat([future[:, kept:] for future in self.rollout_chunks(tokens, state, actions)])

    def energy(
        self, tokens: Float[Tensor, "1 n d"], state: Float[Tensor, "1 Ds"], goal: Float[Tensor, "1 n d"]
    ) -> Energy:
        """Equation 5 as a function of actions: how far the tokens to which they lead are from the goal."""

        @torch.no_grad()
        def energy_of(actions: Float[Tensor, "s T a"]) -> Float[Tensor, " s"]:
            energies = []
            # Chunk by chunk, so that no more than one chunk of predicted tokens is in memory.
            for future in self.rollout_chunks(tokens, state, actions):
                # The last frame alone counts, as in the released planner.
                end = future[:, -goal.shape[1] :]
                energies.append(distance(end, goal, self.scales))
            return torch.cat(energies)

        return energy_of

    def rollout_chunks(
        self,
        tokens: Float[Tensor, "#s n d"],
        state: Float[Tensor, "#s Ds"],
        actions: Float[Tensor, "s T a"],
    ) -> Iterator[Float[Tensor, "chunk Tn d"]]:
        """Tokens of all steps, for one chunk of samples after another."""
        # `expand` repeats one start without copying it.
        states = self.states_along(state.expand(len(actions), -1), actions)
        tokens = tokens.expand(len(actions), -1, -1)
        size = self.chunk_size(tokens.shape[1], actions.shape[1])
        chunks = zip(tokens.split(size), actions.split(size), states.split(size), strict=True)
        for chunk in chunks:
            yield self.ac.rollout(*chunk)

    def states_along(
        self, state: Float[Tensor, "s Ds"], actions: Float[Tensor, "s T a"]
    ) -> Float[Tensor, "s T Ds"]:
        """The states in which the actions are taken."""
        # Nobody acts in the state after the last action.
        states = [state]
        for action in actions[:, :-1].unbind(1):
            states.append(self.next_state(states[-1], action))
        return torch.stack(states, dim=1)

    def next_state(self, state: Float[Tensor, "s Ds"], action: Float[Tensor, "s a"]) -> Float[Tensor, "s Ds"]:
        """The state after an action."""
        # bfloat16 would put angles half a degree off.
        with torch.autocast(state.device.type, enabled=False):
            return pose_apply(state, action, self.schema)

    def chunk_size(self, tokens: int, steps: int) -> int:
        """Samples that fit the memory: keys and values of every step, and the activations of one block."""
        config = self.ac.config
        keys_and_values = 2 * config.depth * config.width * steps
        activations = 8 * config.width + 2 * config.mlp_width
        # Four bytes a number: under autocast a chunk takes less than it may.
        sample_bytes = (tokens + self.ac.conditions) * 4 * (keys_and_values + activations)
        return max(1, int(self.memory * GIB / sample_bytes))


def default_memory(device: torch.device) -> float:
    """GiB for the samples rolled out at once if the recipe does not say."""
    if device.type != "cuda":
        return CPU_MEMORY
    free, _ = torch.cuda.mem_get_info(device)
    return free / 2 / GIB
