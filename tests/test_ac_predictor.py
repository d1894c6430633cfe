"""Laws of the action-conditioned predictor: nothing flows back in time, the cache is exact, the objective is the paper's."""

import pytest
import torch

from vjepa.errors import UserError
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig, block_causal, encode_frames
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.objectives import action_conditioned as objectives
from vjepa.objectives.action_conditioned import ObjectiveConfig
from vjepa.weights.export import ac_predictor_part, encoder_part, export, read_schema
from vjepa.weights.files import CheckpointError
from vjepa.weights.load import load_ac_predictor

ENCODER = EncoderConfig(width=48, depth=1, heads=4, mlp_width=96, patch=8)
SMALL = ACPredictorConfig(width=48, depth=3, heads=4, mlp_width=96, action_dim=3, state_dim=5)
FRAME = 9  # tokens


def network(config: ACPredictorConfig = SMALL) -> ACPredictor:
    """With every parameter random, so that nothing hides behind a zero."""
    torch.manual_seed(0)
    predictor = ACPredictor(config, ENCODER)
    with torch.no_grad():
        for parameter in predictor.parameters():
            parameter.normal_(std=0.2)
    return predictor


@pytest.fixture(scope="module")
def predictor() -> ACPredictor:
    return network().eval()


def episode(steps: int, batch: int = 2, extrinsics: int = 0) -> list[torch.Tensor]:
    """Frame tokens, actions, states (and extrinsics) of so many steps."""
    g = torch.Generator().manual_seed(steps)
    out = [torch.randn(batch, n, d, generator=g) for n, d in ((steps * FRAME, 48), (steps, 3), (steps, 5))]
    return out + [torch.randn(batch, steps, extrinsics, generator=g)] * (extrinsics > 0)


@pytest.mark.parametrize("changed", [0, 1, 2], ids=["frame", "action", "state"])
def test_a_step_changes_nothing_before_itself(predictor, changed):
    steps, inputs, others = 4, episode(4), episode(4)
    size = FRAME if changed == 0 else 1
    others[changed][:, 2 * size : 3 * size] += 1.0
    before, after = predictor(*inputs), predictor(*others)
    moved = (before - after).abs().amax(dim=(0, 2)).unflatten(0, (steps, FRAME))
    assert (moved[:2] == 0).all() and (moved[2:] > 1e-4).all()


def test_the_mask_counted_by_hand():
    steps, tokens = 3, 4
    sees = [[j // tokens <= i // tokens for j in range(steps * tokens)] for i in range(steps * tokens)]
    assert block_causal(3, 0, 4, torch.device("cpu")).tolist() == sees
    assert block_causal(2, 1, 4, torch.device("cpu")).tolist() == sees[4:]


@pytest.mark.parametrize("cuts", [(1, 1, 1, 1), (2, 2), (1, 3)])
def test_extending_the_cache_equals_recomputing(predictor, cuts):
    inputs, cache, guesses, at = episode(4), (), [], 0
    for steps in cuts:
        frames, rest = (
            inputs[0][:, at * FRAME : (at + steps) * FRAME],
            [x[:, at : at + steps] for x in inputs[1:]],
        )
        guess, cache = predictor.extend(cache, frames, *rest)
        guesses.append(guess)
        at += steps
    torch.testing.assert_close(torch.cat(guesses, dim=1), predictor(*inputs), atol=1e-5, rtol=0)


def test_a_rollout_is_prediction_fed_back(predictor):
    frames, actions, states = episode(3)
    film = frames[:, :FRAME]
    for k in range(1, 4):
        film = torch.cat([film, predictor(film, actions[:, :k], states[:, :k])[:, -FRAME:]], dim=1)
    rolled = predictor.rollout(frames[:, :FRAME], actions, states)
    torch.testing.assert_close(rolled, film[:, FRAME:], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        rolled[:, :FRAME], predictor(frames, actions, states)[:, :FRAME], atol=1e-5, rtol=0
    )


def test_what_stands_in_a_step_matters_by_its_place_and_time(predictor):
    frames, actions, states = episode(2)
    turned = frames.flip(1)
    assert (
        predictor(turned, actions, states) - predictor(frames, actions, states).flip(1)
    ).abs().max() > 1e-2


def test_action_and_state_tokens_turn_with_time_alone(predictor):
    by, _ = predictor.places(torch.zeros(1, 3, FRAME + 2, 48), past=2)
    segment = 2 * (48 // 4 // 3 // 2)
    cos, sin = (table.unflatten(2, (3, FRAME + 2))[0, 0] for table in by)
    assert (cos[:, :2, segment:] == 1).all() and (sin[:, :2, segment:] == 0).all()
    torch.testing.assert_close(sin[:, 0], sin[:, 1])
    torch.testing.assert_close(sin[:, 0, 0], torch.tensor([2.0, 3.0, 4.0]).sin())


def test_extrinsics_are_one_more_token():
    config = ACPredictorConfig(**{**SMALL.__dict__, "extrinsics_dim": 6})
    predictor, inputs = network(config).eval(), episode(3, extrinsics=6)
    guess = predictor(*inputs)
    assert guess.shape == (2, 3 * FRAME, 48)
    assert (predictor(*inputs[:3], inputs[3] + 1) - guess).abs().max() > 1e-3
    rolled = predictor.rollout(inputs[0][:, :FRAME], *inputs[1:])
    torch.testing.assert_close(rolled[:, :FRAME], guess[:, :FRAME], atol=1e-5, rtol=0)
    with pytest.raises(UserError, match="extrinsics are missing"):
        predictor(*inputs[:3])


def test_tokens_that_are_no_square_frames_are_refused(predictor):
    frames, actions, states = episode(3)
    with pytest.raises(UserError, match="25 tokens are not 3 square frames"):
        predictor(frames[:, :25], actions, states)
    with pytest.raises(UserError, match="24 tokens are not 3 square frames"):
        predictor(frames[:, :24], actions, states)
    with pytest.raises(UserError, match="extrinsics are given"):
        predictor(frames, actions, states, torch.zeros(2, 3, 6))


def test_the_objective_recomputed(predictor):
    tokens, actions, states = episode(5)
    actions, frame = actions[:, :4], tokens.unflatten(1, (5, FRAME))
    forced = predictor(tokens[:, : 4 * FRAME], actions, states[:, :4]).unflatten(1, (4, FRAME))
    first = forced[:, 0]
    second = predictor(torch.cat([frame[:, 0], first], dim=1), actions[:, :2], states[:, :2])[:, FRAME:]
    by_hand = (forced - frame[:, 1:]).abs().mean()
    last, mean = (second - frame[:, 2]).abs().mean(), (first - frame[:, 1]).abs().mean()
    paper = objectives.action_conditioned(predictor, tokens, actions, states, ObjectiveConfig())
    released = objectives.action_conditioned(
        predictor, tokens, actions, states, ObjectiveConfig(every_step=True)
    )
    torch.testing.assert_close(torch.stack(paper), torch.stack([by_hand + last, by_hand, last]))
    torch.testing.assert_close(released.rollout, (last + mean) / 2)
    small = objectives.action_conditioned(
        predictor, tokens, actions, states, ObjectiveConfig(huber=1e3)
    ).teacher_forcing
    torch.testing.assert_close(small, (forced - frame[:, 1:]).square().mean() / 2e3)


def test_a_rollout_longer_than_the_episode_is_refused(predictor):
    tokens, actions, states = episode(3)
    with pytest.raises(UserError, match="rollout_steps=4, but an episode has 2 actions"):
        objectives.action_conditioned(
            predictor, tokens, actions[:, :2], states, ObjectiveConfig(rollout_steps=4)
        )
    with pytest.raises(UserError, match=r"huber=-0\.1 must be 0 or more"):
        ObjectiveConfig(huber=-0.1)


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_gradient_reaches_every_parameter(activation_checkpointing):
    predictor = network()
    predictor.activation_checkpointing = activation_checkpointing
    tokens, actions, states = episode(4)
    objectives.action_conditioned(
        predictor, tokens, actions[:, :3], states, ObjectiveConfig()
    ).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in predictor.parameters())


def test_recomputing_activations_changes_no_gradient():
    grads = []
    for activation_checkpointing in (False, True):
        predictor = network()
        predictor.activation_checkpointing = activation_checkpointing
        tokens, actions, states = episode(4)
        config = ObjectiveConfig(rollout_steps=3)
        objectives.action_conditioned(predictor, tokens, actions[:, :3], states, config).loss.backward()
        grads.append([p.grad for p in predictor.parameters()])
    torch.testing.assert_close(*grads)


def test_it_overfits_one_batch():
    torch.manual_seed(0)
    predictor = ACPredictor(SMALL, ENCODER)
    tokens, actions, states = episode(4)
    tokens = torch.nn.functional.layer_norm(tokens, (48,))
    optimizer, losses = torch.optim.AdamW(predictor.parameters(), lr=3e-3), []
    for _ in range(100):
        loss = objectives.action_conditioned(
            predictor, tokens, actions[:, :3], states, ObjectiveConfig()
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]


def test_frames_are_encoded_alone_and_normed():
    torch.manual_seed(0)
    encoder, clip = Encoder(ENCODER).eval(), torch.randn(2, 3, 3, 16, 16)
    tokens = encode_frames(encoder, clip)
    alone = encoder(clip[:, :, 1:2].expand(-1, -1, 2, -1, -1))
    torch.testing.assert_close(tokens[:, 4:8], torch.nn.functional.layer_norm(alone, (48,)))


def test_export_round_trip(tmp_path, predictor):
    schema = {"names": ["x", "y"], "bounds": [[-1.0, 1.0], [-2.0, 2.0]]}
    export(
        tmp_path / "model.safetensors", {"ac_predictor": ac_predictor_part(predictor, ENCODER, schema)}, {}
    )
    loaded = load_ac_predictor(tmp_path / "model.safetensors")
    assert loaded.config == SMALL and read_schema(tmp_path / "model.safetensors") == schema
    assert torch.equal(loaded(*episode(2)), predictor(*episode(2)))


def upstream_names(predictor: ACPredictor) -> dict[str, torch.Tensor]:
    """Our weights under the public trainer's names, with the extrinsics' map that it always has."""
    words = {"attention.qkv": "attn.qkv", "attention.out": "attn.proj", "mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2",
             "embed_action": "action_encoder", "embed_state": "state_encoder", "blocks": "predictor_blocks"}  # fmt: skip
    heads = {"embed.": "predictor_embed.", "norm.": "predictor_norm.", "out.": "predictor_proj."}
    state = {
        "module.extrinsics_encoder.weight": torch.ones(48, 6),
        "module.extrinsics_encoder.bias": torch.ones(48),
    }
    for key, value in predictor.state_dict().items():
        for ours, theirs in words.items():
            key = key.replace(ours, theirs)
        for ours, theirs in heads.items():
            key = theirs + key.removeprefix(ours) if key.startswith(ours) else key
        state[f"module.{key}"] = value
    return state


def test_an_upstream_file_is_read_whole(tmp_path, predictor):
    torch.save({"predictor": upstream_names(predictor)}, tmp_path / "upstream.pt")
    loaded = load_ac_predictor(tmp_path / "upstream.pt", heads=4)
    assert loaded.config == SMALL and torch.equal(loaded(*episode(2)), predictor(*episode(2)))
    seeing = load_ac_predictor(tmp_path / "upstream.pt", heads=4, extrinsics=True)
    assert torch.equal(seeing.embed_extrinsics.weight, torch.ones(48, 6))


def test_loading_is_strict(tmp_path, predictor):
    state = upstream_names(predictor)
    del state["module.state_encoder.bias"]
    torch.save({"predictor": state}, tmp_path / "upstream.pt")
    with pytest.raises(CheckpointError, match=r"missing embed_state\.bias"):
        load_ac_predictor(tmp_path / "upstream.pt", heads=4)
    torch.save({"predictor": state | {"module.mystery": torch.ones(1)}}, tmp_path / "upstream.pt")
    with pytest.raises(CheckpointError, match=r"holds 'mystery'"):
        load_ac_predictor(tmp_path / "upstream.pt", heads=4)
    export(tmp_path / "encoder.safetensors", {"ema": encoder_part(Encoder(ENCODER))}, {})
    for read in (load_ac_predictor, read_schema):
        with pytest.raises(CheckpointError, match=r"no (part named )?ac_predictor"):
            read(tmp_path / "encoder.safetensors")
