"""What a planner asks of the networks: encode, predict, rollout, energy (V-JEPA 2, section 3.2, equation 5)."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import UserError, require
from vjepa.models.ac_predictor import ACPredictor, encode_frames
from vjepa.models.encoder import Encoder
from vjepa.planning.cem import Energy
from vjepa.robots.pose import pose_apply
from vjepa.robots.schema import END_EFFECTOR, StateSchema

GIB = 2**30
CPU_MEMORY = 0.1  # GiB


@dataclass(frozen=True)
class WorldModelConfig:
    memory: float | None = None
    """GiB that the samples rolled out at once may take, about; the others wait. Not given: half of what the GPU has free, or
    0.1 on a CPU, where a chunk larger than the processor's caches is slower (measured: by half at 1 GiB)."""
    scales: tuple[int, ...] = (1,)
    """Sides of the squares of tokens that are averaged before they are compared; the energies of all scales are added. 1 as in
    the paper. (1, 2, 4) also tells how far two arms are apart that share no token."""

    def __post_init__(self) -> None:
        enough = self.memory is None or self.memory > 0
        require(enough, f"world_model.memory={self.memory} GiB holds no sample; give a positive number")
        fits = bool(self.scales) and min(self.scales) > 0
        require(
            fits, f"world_model.scales={self.scales}: give sides of squares of tokens; (1,) is the paper's"
        )


class WorldModel:
    """A frozen encoder and an action-conditioned predictor, seen as a simulator in the space of tokens.

    Tokens are those of one frame, `n = H*W`. The state follows the actions by `pose_apply` under `schema`, on the device
    and for all samples at once. Under `torch.autocast` the networks run, and keep their past, in its precision.
    """

    def __init__(
        self,
        encoder: Encoder,
        ac: ACPredictor,
        config: WorldModelConfig = WorldModelConfig(),
        schema: StateSchema = END_EFFECTOR,
    ) -> None:
        """Raises UserError if the predictor is of another encoder or schema, or wants the camera's pose."""
        check_fit(encoder, ac, schema)
        self.encoder, self.ac = encoder.eval(), ac.eval()
        self.schema, self.scales = schema, config.scales
        self.memory = config.memory or free_memory(next(ac.parameters()).device)  # GiB

    @torch.no_grad()
    def encode(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """Layer-normed tokens of normalised images, each encoded alone."""
        return encode_frames(self.encoder, image[:, :, None])

    def predict(
        self, tokens: Float[Tensor, "b n d"], state: Float[Tensor, "b Ds"], action: Float[Tensor, "b a"]
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b Ds"]]:
        """Tokens and state one action later."""
        return self.rollout(tokens, state, action[:, None]), self.advance(state, action)

    @torch.no_grad()
    def rollout(
        self,
        tokens: Float[Tensor, "#s n d"],
        state: Float[Tensor, "#s Ds"],
        actions: Float[Tensor, "s T a"],
        every_step: bool = False,
    ) -> Float[Tensor, "s m d"]:
        """Tokens after T actions, or in (T H W) order after each of them: m = n or T*n. One start may serve all samples."""
        frames = 0 if every_step else -tokens.shape[1]
        return torch.cat([future[:, frames:] for future in self.futures(tokens, state, actions)])

    def energy(
        self, tokens: Float[Tensor, "1 n d"], state: Float[Tensor, "1 Ds"], goal: Float[Tensor, "1 n d"]
    ) -> Energy:
        """Equation 5 as a function of actions: how far from the goal they lead."""

        @torch.no_grad()
        def of(actions: Float[Tensor, "s T a"]) -> Float[Tensor, " s"]:
            ends = (future[:, -goal.shape[1] :] for future in self.futures(tokens, state, actions))
            return torch.cat([distance(end, goal, self.scales) for end in ends])

        return of

    def futures(self, tokens: Tensor, state: Tensor, actions: Tensor) -> Iterator[Float[Tensor, "s Tn d"]]:
        """Tokens of all steps for one chunk of samples after another."""
        states = self.states(state.expand(len(actions), -1), actions)
        tokens = tokens.expand(len(actions), -1, -1)
        size = self.chunk(tokens.shape[1], actions.shape[1])
        for some in zip(tokens.split(size), actions.split(size), states.split(size), strict=True):
            yield self.ac.rollout(*some)

    def states(
        self, state: Float[Tensor, "s Ds"], actions: Float[Tensor, "s T a"]
    ) -> Float[Tensor, "s T Ds"]:
        """The states in which the actions are taken."""
        states = [state]
        for action in actions[:, :-1].unbind(1):
            states.append(self.advance(states[-1], action))
        return torch.stack(states, dim=1)

    def advance(self, state: Float[Tensor, "s Ds"], action: Float[Tensor, "s a"]) -> Float[Tensor, "s Ds"]:
        """The state after an action; never in bfloat16, whose angles are off by half a degree."""
        with torch.autocast(state.device.type, enabled=False):
            return pose_apply(state, action, self.schema)

    def chunk(self, tokens: int, steps: int) -> int:
        """SampleAnswers that fit the memory: kept keys and values of every step, and one block's activations."""
        ac = self.ac.config
        kept, passing = 2 * ac.depth * ac.width * steps, 8 * ac.width + 2 * ac.mlp_width
        return max(1, int(self.memory * GIB / ((tokens + self.ac.conditions) * 4 * (kept + passing))))


def check_fit(encoder: Encoder, ac: ACPredictor, schema: StateSchema) -> None:
    """Raises UserError for networks that only the first plan would find not to fit."""
    width = ac.embed.in_features // ac.config.merge**2
    require(width == encoder.config.width, f"the predictor was trained on tokens of width {width}, but the encoder makes "
                  f"{encoder.config.width}; give the encoder that the AC stage was run with")  # fmt: skip
    wanted, given = (ac.config.state_dim, ac.config.action_dim), (schema.state_dims, schema.action_dims)
    require(wanted == given, f"the predictor takes states and actions of {wanted} numbers, the schema has {given}; "
                  "give the one that it was trained under")  # fmt: skip
    require(not ac.config.extrinsics_dim, "the predictor wants the camera's pose at every step, which planning does not "
                  "give; train the AC stage with model.predictor.extrinsics_dim: 0")  # fmt: skip


def free_memory(device: torch.device) -> float:
    """GiB to use if the recipe does not say."""
    return torch.cuda.mem_get_info(device)[0] / 2 / GIB if device.type == "cuda" else CPU_MEMORY


def distance(
    tokens: Float[Tensor, "*#s n d"], goal: Float[Tensor, "*#s n d"], scales: tuple[int, ...] = (1,)
) -> Float[Tensor, "*s"]:
    """Mean absolute difference over tokens and channels, for every sample; over averages of squares of tokens at other scales
    than 1, all scales added. Raises UserError if a square does not divide the frame."""
    apart = [(coarse(tokens, side) - coarse(goal, side)).abs().mean(dim=(-2, -1)) for side in scales]
    return torch.stack(apart).sum(dim=0)


def coarse(tokens: Float[Tensor, "*s n d"], side: int) -> Float[Tensor, "*s m d"]:
    """The averages over squares of `side` x `side` tokens of one frame."""
    if side == 1:
        return tokens
    H, left = divmod(isqrt(tokens.shape[-2]), side)
    if left or not H:
        raise UserError(
            f"world_model.scales: squares of {side} tokens do not divide a frame of {tokens.shape[-2]} tokens"
        )
    return reduce(tokens, "... (H p W q) d -> ... (H W) d", "mean", H=H, p=side, q=side)
