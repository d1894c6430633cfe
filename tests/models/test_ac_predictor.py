"""Laws of the action-conditioned predictor: no step sees the future, caching is exact, losses are right."""

from dataclasses import replace

import pytest
import torch

from vjepa.errors import UserError
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.encoder import Encoder, EncoderConfig, encode_frames
from vjepa.models.step_cache import block_causal_mask
from vjepa.objectives.action_conditioned import ObjectiveConfig, action_conditioned_losses
from vjepa.weights.export import ac_predictor_part, encoder_part, export, read_schema
from vjepa.weights.facts import ActingFacts
from vjepa.weights.files import CheckpointError
from vjepa.weights.load import load_ac_predictor

ENCODER = EncoderConfig(width=48, depth=1, heads=4, mlp_width=96, patch=8)
SMALL = ACPredictorConfig(width=48, depth=3, heads=4, mlp_width=96, action_dim=3, state_dim=5)
FRAME = 9
"""Tokens of a frame."""


def network(config: ACPredictorConfig = SMALL) -> ACPredictor:
    """A predictor whose parameters are all random: a zero would hide what is wrong."""
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
    """Frame tokens, actions and states of so many steps, and extrinsics if they have a width."""
    generator = torch.Generator().manual_seed(steps)
    shapes = [(steps * FRAME, 48), (steps, 3), (steps, 5)]
    if extrinsics:
        shapes.append((steps, extrinsics))
    return [torch.randn(batch, n, d, generator=generator) for n, d in shapes]


@pytest.mark.parametrize("changed", [0, 1, 2], ids=["frame", "action", "state"])
def test_a_step_changes_nothing_before_itself(predictor, changed):
    inputs = episode(4)
    other_inputs = episode(4)
    size = FRAME if changed == 0 else 1
    other_inputs[changed][:, 2 * size : 3 * size] += 1.0
    difference = predictor(*inputs) - predictor(*other_inputs)
    change = difference.abs().amax(dim=(0, 2)).unflatten(0, (4, FRAME))
    assert (change[:2] == 0).all() and (change[2:] > 1e-4).all()


def test_the_mask_counted_by_hand():
    steps = 3
    tokens = 4
    places = range(steps * tokens)
    sees = [[key // tokens <= query // tokens for key in places] for query in places]
    assert block_causal_mask(3, 0, 4, torch.device("cpu")).tolist() == sees
    assert block_causal_mask(2, 1, 4, torch.device("cpu")).tolist() == sees[4:]


@pytest.mark.parametrize("cuts", [(1, 1, 1, 1), (2, 2), (1, 3)])
def test_extending_the_cache_equals_recomputing(predictor, cuts):
    frames, actions, states = episode(4)
    cache = ()
    predictions = []
    first = 0
    for steps in cuts:
        last = first + steps
        predicted, cache = predictor.extend(
            cache, frames[:, first * FRAME : last * FRAME], actions[:, first:last], states[:, first:last]
        )
        predictions.append(predicted)
        first = last
    at_once = predictor(frames, actions, states)
    torch.testing.assert_close(torch.cat(predictions, dim=1), at_once, atol=1e-5, rtol=0)


def test_a_rollout_feeds_predictions_back(predictor):
    frames, actions, states = episode(3)
    by_hand = frames[:, :FRAME]
    for k in range(1, 4):
        next_frame = predictor(by_hand, actions[:, :k], states[:, :k])[:, -FRAME:]
        by_hand = torch.cat([by_hand, next_frame], dim=1)
    rollout = predictor.rollout(frames[:, :FRAME], actions, states)
    torch.testing.assert_close(rollout, by_hand[:, FRAME:], atol=1e-5, rtol=0)
    forced = predictor(frames, actions, states)
    torch.testing.assert_close(rollout[:, :FRAME], forced[:, :FRAME], atol=1e-5, rtol=0)


def test_tokens_are_told_apart_by_place_and_time(predictor):
    frames, actions, states = episode(2)
    in_order = predictor(frames, actions, states)
    reversed_tokens = predictor(frames.flip(1), actions, states)
    assert (reversed_tokens - in_order.flip(1)).abs().max() > 1e-2


def test_action_and_state_tokens_turn_with_time_alone(predictor):
    rotation, _ = predictor.rotation_and_mask(torch.zeros(1, 3, FRAME + 2, 48), past=2)
    segment = 2 * (48 // 4 // 3 // 2)
    cos, sin = (table.unflatten(2, (3, FRAME + 2))[0, 0] for table in rotation)
    assert (cos[:, :2, segment:] == 1).all() and (sin[:, :2, segment:] == 0).all()
    torch.testing.assert_close(sin[:, 0], sin[:, 1])
    torch.testing.assert_close(sin[:, 0, 0], torch.tensor([2.0, 3.0, 4.0]).sin())


def test_extrinsics_are_one_more_token():
    predictor = network(replace(SMALL, extrinsics_dim=6)).eval()
    frames, actions, states, extrinsics = episode(3, extrinsics=6)
    predicted = predictor(frames, actions, states, extrinsics)
    assert predicted.shape == (2, 3 * FRAME, 48)
    assert (predictor(frames, actions, states, extrinsics + 1) - predicted).abs().max() > 1e-3
    rollout = predictor.rollout(frames[:, :FRAME], actions, states, extrinsics)
    torch.testing.assert_close(rollout[:, :FRAME], predicted[:, :FRAME], atol=1e-5, rtol=0)
    with pytest.raises(UserError, match="extrinsics are missing"):
        predictor(frames, actions, states)


def test_tokens_that_are_no_square_frames_are_refused(predictor):
    frames, actions, states = episode(3)
    with pytest.raises(UserError, match="25 tokens are not 3 square frames"):
        predictor(frames[:, :25], actions, states)
    with pytest.raises(UserError, match="24 tokens are not 3 square frames"):
        predictor(frames[:, :24], actions, states)
    with pytest.raises(UserError, match="extrinsics are given"):
        predictor(frames, actions, states, torch.zeros(2, 3, 6))


def test_the_losses_computed_by_hand(predictor):
    tokens, actions, states = episode(5)
    actions = actions[:, :4]
    frames = tokens.unflatten(1, (5, FRAME))
    forced = predictor(tokens[:, : 4 * FRAME], actions, states[:, :4]).unflatten(1, (4, FRAME))
    first = forced[:, 0]
    second = predictor(torch.cat([frames[:, 0], first], dim=1), actions[:, :2], states[:, :2])[:, FRAME:]
    teacher_forcing = (forced - frames[:, 1:]).abs().mean()
    first_error = (first - frames[:, 1]).abs().mean()
    second_error = (second - frames[:, 2]).abs().mean()

    def losses(**fields):
        return action_conditioned_losses(predictor, tokens, actions, states, ObjectiveConfig(**fields))

    expected = torch.stack([teacher_forcing + second_error, teacher_forcing, second_error])
    torch.testing.assert_close(torch.stack(losses()), expected)
    torch.testing.assert_close(losses(every_step=True).rollout, (first_error + second_error) / 2)
    squares = (forced - frames[:, 1:]).square().mean()
    torch.testing.assert_close(losses(huber=1e3).teacher_forcing, squares / 2e3)


def test_a_rollout_longer_than_the_episode_is_refused(predictor):
    tokens, actions, states = episode(3)
    with pytest.raises(UserError, match="rollout_steps=4, but an episode has 2 actions"):
        action_conditioned_losses(predictor, tokens, actions[:, :2], states, ObjectiveConfig(rollout_steps=4))
    with pytest.raises(UserError, match=r"huber=-0\.1 must be 0 or more"):
        ObjectiveConfig(huber=-0.1)


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_gradient_reaches_every_parameter(activation_checkpointing):
    predictor = network()
    predictor.activation_checkpointing = activation_checkpointing
    tokens, actions, states = episode(4)
    action_conditioned_losses(predictor, tokens, actions[:, :3], states, ObjectiveConfig()).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in predictor.parameters())


def test_activation_checkpointing_changes_no_gradient():
    grads = []
    for activation_checkpointing in (False, True):
        predictor = network()
        predictor.activation_checkpointing = activation_checkpointing
        tokens, actions, states = episode(4)
        config = ObjectiveConfig(rollout_steps=3)
        action_conditioned_losses(predictor, tokens, actions[:, :3], states, config).loss.backward()
        grads.append([p.grad for p in predictor.parameters()])
    torch.testing.assert_close(*grads)


def test_it_overfits_one_batch():
    torch.manual_seed(0)
    predictor = ACPredictor(SMALL, ENCODER)
    tokens, actions, states = episode(4)
    tokens = torch.nn.functional.layer_norm(tokens, (48,))
    optimizer = torch.optim.AdamW(predictor.parameters(), lr=3e-3)
    losses = []
    for _ in range(100):
        loss = action_conditioned_losses(predictor, tokens, actions[:, :3], states, ObjectiveConfig()).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]


def test_frames_are_encoded_alone_and_normed():
    torch.manual_seed(0)
    encoder = Encoder(ENCODER).eval()
    clip = torch.randn(2, 3, 3, 16, 16)
    tokens = encode_frames(encoder, clip)
    alone = encoder(clip[:, :, 1:2].expand(-1, -1, 2, -1, -1))
    torch.testing.assert_close(tokens[:, 4:8], torch.nn.functional.layer_norm(alone, (48,)))


def test_export_round_trip(tmp_path, predictor):
    schema = {"names": ["x", "y"], "bounds": [[-1.0, 1.0], [-2.0, 2.0]]}
    export(
        tmp_path / "model.safetensors",
        {"ac_predictor": ac_predictor_part(predictor, ENCODER, ActingFacts(schema))},
        {},
    )
    loaded = load_ac_predictor(tmp_path / "model.safetensors")
    assert loaded.config == SMALL and read_schema(tmp_path / "model.safetensors") == schema
    assert torch.equal(loaded(*episode(2)), predictor(*episode(2)))


def meta_names(predictor: ACPredictor) -> dict[str, torch.Tensor]:
    """Our weights under the public trainer's names, with the extrinsics' map that it always has."""
    names = {
        "attention.qkv": "attn.qkv",
        "attention.out": "attn.proj",
        "mlp.0": "mlp.fc1",
        "mlp.2": "mlp.fc2",
        "embed_action": "action_encoder",
        "embed_state": "state_encoder",
        "blocks": "predictor_blocks",
    }
    prefixes = {"embed.": "predictor_embed.", "norm.": "predictor_norm.", "out.": "predictor_proj."}
    state = {
        "module.extrinsics_encoder.weight": torch.ones(48, 6),
        "module.extrinsics_encoder.bias": torch.ones(48),
    }
    for key, value in predictor.state_dict().items():
        for ours, public in names.items():
            key = key.replace(ours, public)
        for ours, public in prefixes.items():
            key = public + key.removeprefix(ours) if key.startswith(ours) else key
        state[f"module.{key}"] = value
    return state


def test_a_file_of_metas_is_read_whole(tmp_path, predictor):
    torch.save({"predictor": meta_names(predictor)}, tmp_path / "meta.pt")
    loaded = load_ac_predictor(tmp_path / "meta.pt", heads=4)
    assert loaded.config == SMALL and torch.equal(loaded(*episode(2)), predictor(*episode(2)))
    with_camera = load_ac_predictor(tmp_path / "meta.pt", heads=4, extrinsics=True)
    assert torch.equal(with_camera.embed_extrinsics.weight, torch.ones(48, 6))


def test_loading_is_strict(tmp_path, predictor):
    state = meta_names(predictor)
    del state["module.state_encoder.bias"]
    torch.save({"predictor": state}, tmp_path / "meta.pt")
    with pytest.raises(CheckpointError, match=r"missing embed_state\.bias"):
        load_ac_predictor(tmp_path / "meta.pt", heads=4)
    torch.save({"predictor": state | {"module.mystery": torch.ones(1)}}, tmp_path / "meta.pt")
    with pytest.raises(CheckpointError, match=r"holds 'mystery'"):
        load_ac_predictor(tmp_path / "meta.pt", heads=4)
    export(tmp_path / "encoder.safetensors", {"ema": encoder_part(Encoder(ENCODER))}, {})
    for read in (load_ac_predictor, read_schema):
        with pytest.raises(CheckpointError, match=r"no (part named )?ac_predictor"):
            read(tmp_path / "encoder.safetensors")
