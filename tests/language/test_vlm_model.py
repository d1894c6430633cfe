"""The language model that reads clips: prompts and labels, loss, scores of options, answers, loading."""

import os
import subprocess
import sys
from functools import partial
from itertools import groupby
from pathlib import Path

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers", reason="language models need the vlm extra")

from vjepa.errors import UserError
from vjepa.language.chat import Chat
from vjepa.language.conversations import Turn
from vjepa.language.generation import stream_tokens
from vjepa.language.language_model import (
    CHATML,
    LanguageConfig,
    LoRA,
    load_language,
    load_tokenizer,
    new_language,
    new_tokenizer,
    save_language,
    unfreeze_language,
)
from vjepa.language.model import CLIP_TOKEN, IGNORE, VisionLanguageModel, before_stop, pad
from vjepa.models.projector import Projector, ProjectorConfig, VideoTokens

TEXTS = [
    "Which way does the hand move?",
    "It moves to the left.",
    "What colour is it?",
    "red, green, blue",
    "system user",
] * 3
LLAMA = (  # as Llama 3 words it: a header for every turn, blank lines, texts trimmed
    "{{ bos_token }}{% for message in messages %}<|start|>{{ message.role }}<|end|>\n\n"
    "{{ message.content | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)
SYSTEM = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou see clips.<|im_end|>\n{% endif %}" + CHATML
)
BARE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}"
    "{% if not loop.last %}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}\nassistant: {% endif %}"
)
QWEN25 = (  # as Qwen2.5 words it: a system turn of its own unless there is one
    "{%- if messages[0].role == 'system' %}{%- set first, rest = messages[0].content, messages[1:] %}"
    "{%- else %}{%- set first, rest = 'You are helpful.', messages %}{%- endif %}"
    "{{- '<|im_start|>system\n' + first + '<|im_end|>\n' }}"
    "{%- for message in rest %}{{- '<|im_start|>' + message.role + '\n' + message.content }}"
    "{{- '<|im_end|>' + '\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
QWEN3 = (  # as Qwen3 words it: an empty thought before the last answer, and where it asks not to think
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.role == 'assistant' and loop.last %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{{- message.content + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and not enable_thinking %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)
LLAMA2 = (  # as Llama 2 and Mistral word it: spaces around an answer that nobody asks for
    "{% for message in messages %}{% if message.role == 'user' %}[INST] {{ message.content | trim }} [/INST]"
    "{% else %} {{ message.content | trim }} {{ eos_token }}{% endif %}{% endfor %}"
)
ZEPHYR = (  # the end of a line before an answer that nobody asks for
    "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "system": SYSTEM,
    "llama3": LLAMA,
    "bare": BARE,
    "qwen2.5": QWEN25,
    "qwen3": QWEN3,
    "llama2": LLAMA2,
    "zephyr": ZEPHYR,
}
TALK = (
    Turn("user", (0, "\nWhich way does the hand move?")),
    Turn("assistant", ("It moves to the left.",)),
    Turn("user", ("What colour is it?",)),
    Turn("assistant", ("red",)),
)


@pytest.fixture(scope="module")
def tokenizer():
    return new_tokenizer(TEXTS, 400)


@pytest.fixture(scope="module")
def chat(tokenizer) -> Chat:
    return Chat(tokenizer, 200)


def with_template(tokenizer, template: str):
    other = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer, eos_token="<|im_end|>", pad_token="<|pad|>"
    )
    other.chat_template = template
    return other


@pytest.fixture
def model(tokenizer) -> VisionLanguageModel:
    torch.manual_seed(0)
    language = new_language(len(tokenizer), 32, 2, 2)
    return VisionLanguageModel(Projector(ProjectorConfig(), 24, 32), language).eval()


def clips(*sizes: int) -> list[VideoTokens]:
    generator = torch.Generator().manual_seed(1)
    return [VideoTokens(torch.randn(n, 24, generator=generator), (n, 1, 1)) for n in sizes]


# the projector


def test_the_size_of_a_channel_does_not_matter_once_standardised():
    torch.manual_seed(0)
    projector, other = (Projector(ProjectorConfig((2, 1, 1)), 24, 32) for _ in range(2))
    other.load_state_dict(projector.state_dict())
    size, level = torch.rand(24) * 9 + 0.1, torch.randn(24) * 5
    plain = clips(6, 2)
    changed = [VideoTokens(clip.tokens * size + level, clip.grid) for clip in plain]
    projector.standardise(plain)
    other.standardise(iter(changed))
    torch.testing.assert_close(other(changed), projector(plain), atol=1e-5, rtol=1e-4)
    read = (torch.cat([clip.tokens for clip in plain]) - projector.mean) / projector.std
    torch.testing.assert_close(read.std(dim=0, unbiased=False), torch.ones(24))
    assert not any(name in dict(projector.named_parameters()) for name in ("mean", "std"))
    before = projector.mean.clone()
    projector.standardise([])
    assert torch.equal(projector.mean, before)


@pytest.mark.parametrize(
    ("window", "pooling", "tokens"),
    [
        ((1, 1, 1), "average", 64),
        ((1, 2, 2), "average", 16),
        ((1, 2, 2), "attention", 16),
        ((2, 2, 2), "attention", 8),
        ((1, 4, 4), "concat", 4),
    ],
)
def test_a_window_of_tokens_becomes_one(window, pooling, tokens):
    projector = Projector(ProjectorConfig(window, pooling, heads=4), 24, 40)
    clip = VideoTokens(torch.randn(64, 24), (4, 4, 4))
    assert projector([clip, clip]).shape == (2 * tokens, 40) and projector.token_count((4, 4, 4)) == tokens


def test_a_window_averages_neighbours_of_one_frame():
    tokens = torch.arange(16.0)[:, None].expand(-1, 24)  # (T H W) = (1, 4, 4)
    pooled = Projector(ProjectorConfig((1, 2, 2)), 24, 8).pool_windows(VideoTokens(tokens, (1, 4, 4)))
    assert pooled[:, 0].tolist() == [2.5, 4.5, 10.5, 12.5]


def test_a_concatenated_window_keeps_every_number_in_its_place():
    tokens = torch.randn(32, 24)  # (T H W) = (2, 4, 4)
    kept = Projector(ProjectorConfig((1, 4, 4), "concat"), 24, 8).pool_windows(VideoTokens(tokens, (2, 4, 4)))
    assert torch.equal(kept, tokens.view(2, 16 * 24))


def test_an_attentive_window_knows_places_but_no_other_window():
    projector = Projector(ProjectorConfig((1, 2, 2), "attention", heads=4), 24, 8)
    tokens = torch.randn(16, 24)
    changed = tokens.clone()
    changed[[0, 1]] = tokens[[1, 0]]
    before, after = (projector.pool_windows(VideoTokens(x, (1, 4, 4))) for x in (tokens, changed))
    assert not torch.allclose(before[0], after[0]) and torch.allclose(before[1:], after[1:])


def test_projected_tokens_start_at_the_size_of_words():
    torch.manual_seed(0)
    projected = Projector(ProjectorConfig(), 256, 512, std=0.05)(
        [VideoTokens(torch.randn(200, 256), (200, 1, 1))]
    )
    assert 0.035 < projected.std() < 0.065


def test_what_does_not_fit_the_projector_is_refused(model):
    with pytest.raises(UserError, match="does not divide a clip"):
        Projector(ProjectorConfig((1, 2, 2)), 24, 8).token_count((4, 3, 4))
    with pytest.raises(UserError, match="reads tokens of width 24, this encoder's have 20"):
        model.projector([VideoTokens(torch.randn(4, 20), (4, 1, 1))])


# conversations


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_labels_are_the_answers_and_their_ends(tokenizer, template):
    chat = Chat(with_template(tokenizer, template), 300)
    encoded = chat.encode(TALK, [5])
    groups = groupby(encoded.labels, lambda label: label != IGNORE)
    answers = [list(labels) for is_answer, labels in groups if is_answer]
    assert [chat.decode(answer[:-1]) for answer in answers] == ["It moves to the left.", "red"]
    assert all(answer[-1] in chat.stop for answer in answers)
    assert encoded.ids.count(CLIP_TOKEN) == 5 and len(encoded.ids) == len(encoded.labels)


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_prompt_is_how_its_answered_conversation_begins(tokenizer, template):
    chat = Chat(with_template(tokenizer, template), 300)
    prompt = chat.encode_prompt(TALK[:3], [5])
    whole = chat.encode(TALK, [5])
    answer = chat.encode_answer("red")
    assert whole.ids[: len(prompt.ids)] == prompt.ids
    assert whole.ids[len(prompt.ids) :][: len(answer)] == answer
    assert chat.decode(answer[:-1]) == "red"
    assert chat.stop[0] not in chat.encode_text(" red \n")

    messages = [
        {"role": turn.role, "content": "".join(part for part in turn.parts if isinstance(part, str))}
        for turn in TALK[:3]
    ]
    text = chat.tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    ours = chat.decode([i for i in prompt.ids if i != CLIP_TOKEN])
    reference = chat.decode(chat.tokenizer(text).input_ids)
    assert "".join(ours.split()) == "".join(reference.split())


def test_pieces_are_what_the_tokenizer_makes_of_the_whole_text(chat, tokenizer):
    messages = [{"role": "user", "content": "What colour is it?"}]
    whole = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert chat.encode_prompt([Turn("user", ("What colour is it?",))], []).ids == tokenizer(whole).input_ids


def test_a_control_token_typed_by_a_user_is_text(chat, tokenizer):
    typed = chat.encode_prompt([Turn("user", ("<|im_end|> <|im_start|>",))], []).ids
    plain = chat.encode_prompt([Turn("user", ("hello",))], []).ids
    for control in ("<|im_end|>", "<|im_start|>"):
        token = tokenizer.convert_tokens_to_ids(control)
        assert typed.count(token) == plain.count(token)
    assert "<|im_end|> <|im_start|>" in tokenizer.decode(typed)


def test_the_longest_question_is_cut_first_then_the_end(tokenizer):
    talk = (Turn("user", (0, "What colour is it? " * 10)), Turn("assistant", ("red, green, blue",)))
    whole = Chat(tokenizer, 1000).encode(talk, [5])
    question_cut = Chat(tokenizer, len(whole.ids) - 20).encode(talk, [5])
    answers = [[label for label in encoded.labels if label != IGNORE] for encoded in (whole, question_cut)]
    assert question_cut.cut == 20 and answers[0] == answers[1] and question_cut.ids.count(CLIP_TOKEN) == 5
    question = len(Chat(tokenizer, 1000).encode_text(talk[0].parts[1]))
    answer_cut = Chat(tokenizer, len(whole.ids) - question - 3).encode(talk, [5])
    kept = [label for label in answer_cut.labels if label != IGNORE]
    assert 0 < len(kept) < len(answers[0]) and kept == answers[0][: len(kept)]
    with pytest.raises(UserError, match="no answer fits into 12 tokens beside 5 of clips"):
        Chat(tokenizer, 12).encode(talk, [5])


def test_a_tokenizer_that_puts_a_space_in_front_of_every_text_needs_no_other(tokenizer):
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = ["?", "\u2581", "\u2581a", "a", "q", "[", "]", "/", "I", "N", "S", "T", "</s>"]
    words = {word: i for i, word in enumerate(vocabulary)}
    unigram = Tokenizer(models.WordLevel(words, unk_token="?"))
    unigram.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    llama = transformers.PreTrainedTokenizerFast(tokenizer_object=unigram, eos_token="</s>", unk_token="?")
    llama.chat_template = LLAMA2
    assert Chat(llama, 100).encode_answer("a") == [words["\u2581a"], words["</s>"]]


def test_templates_that_cannot_teach_are_refused(tokenizer):
    with pytest.raises(UserError, match="has no chat template"):
        Chat(with_template(tokenizer, ""), 100)
    changing = CHATML.replace(
        "<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\nWell, {% endif %}"
    )
    with pytest.raises(UserError, match="does not begin an answered conversation as it asks"):
        Chat(with_template(tokenizer, changing), 100)
    strict = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + CHATML
    )
    with pytest.raises(UserError, match="refuses turns of system, user, assistant: no system turn"):
        Chat(with_template(tokenizer, strict), 100).encode((Turn("system", ("Be brief.",)), *TALK[2:]), [])
    with pytest.raises(UserError, match="does not show all turns of: user"):
        Chat(with_template(tokenizer, "{{ messages[0].content }}\nassistant:"), 100)


# the model


def test_clips_stand_where_their_places_are(model):
    ids = torch.tensor([[3, CLIP_TOKEN, CLIP_TOKEN, 7], [CLIP_TOKEN, 5, CLIP_TOKEN, 9]])
    videos = clips(2, 1, 1)
    words = model.language.get_input_embeddings()(ids.clamp(min=0))
    tokens = model.projector(videos)
    first = torch.stack([words[0, 0], tokens[0], tokens[1], words[0, 3]])
    second = torch.stack([tokens[2], words[1, 1], tokens[3], words[1, 3]])
    assert torch.equal(model.embed(ids, videos), torch.stack([first, second]))
    with pytest.raises(UserError, match="places for 4 tokens of clips, but 3 were given"):
        model.embed(ids, clips(2, 1))


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_change_what_is_read(model, side):
    rows = [[3, CLIP_TOKEN, 5, 6], [4, CLIP_TOKEN, CLIP_TOKEN, 8, 9, 10, 11]]
    labels = [[IGNORE] * 2 + [5, 6], [IGNORE] * 5 + [10, 11]]
    alone = [
        model(*pad([row], 0, side), clips(1, 2)[i : i + 1], pad([label], IGNORE, side)[0]).loss
        for i, (row, label) in enumerate(zip(rows, labels, strict=True))
    ]
    together = model(*pad(rows, 0, side), clips(1, 2), pad(labels, IGNORE, side)[0]).loss
    torch.testing.assert_close(together, torch.stack(alone).mean())


def test_options_are_scored_as_if_each_were_read_alone(model):
    prompts = [[3, CLIP_TOKEN, 5], [4, CLIP_TOKEN, CLIP_TOKEN, 8, 9]]
    options = [[[6, 7], [8]], [[5], [9, 3]]]
    padded = torch.stack([pad(row, IGNORE, "right")[0] for row in options])
    scores = model.option_scores(*pad(prompts, 0, "left"), clips(1, 2), padded)
    for row, prompt in enumerate(prompts):
        for column, option in enumerate(options[row]):
            ids, mask = pad([prompt + option], 0, "right")
            labels = torch.tensor([[IGNORE] * len(prompt) + option])
            alone = -model(ids, mask, clips(1, 2)[row : row + 1], labels).loss * len(option)
            torch.testing.assert_close(scores[row, column], alone, atol=1e-5, rtol=1e-5)


def greedy_by_hand(model: VisionLanguageModel, prompt: list[int], videos: list[VideoTokens]) -> list[int]:
    """Eight tokens, each from a forward pass over everything before it."""
    embeds = model.embed(torch.tensor([prompt]), videos)
    tokens = []
    for _ in range(8):
        token = model.language(inputs_embeds=embeds).logits[:, -1].argmax(dim=-1)
        tokens.append(int(token))
        embeds = torch.cat([embeds, model.language.get_input_embeddings()(token)[:, None]], dim=1)
    return tokens


def test_answers_are_greedy_whatever_the_batch_and_the_models_own_settings(model):
    prompts = [[3, CLIP_TOKEN, 5], [4, CLIP_TOKEN, CLIP_TOKEN, 8, 9]]
    videos = clips(1, 2)
    whole = [greedy_by_hand(model, prompt, [video]) for prompt, video in zip(prompts, videos, strict=True)]
    stop = [whole[0][3]]
    own = transformers.GenerationConfig(do_sample=True, repetition_penalty=3.0, suppress_tokens=whole[1])
    model.language.generation_config = own

    together = model.answers(*pad(prompts, 0, "left"), videos, stop, 8)
    for prompt, video, tokens, answer in zip(prompts, videos, whole, together, strict=True):
        alone = (*pad([prompt], 0, "left"), [video], stop, 8)
        assert answer == before_stop(tokens, stop) == model.answers(*alone)[0]
        streamed = list(stream_tokens(partial(model.generate, *alone)))
        assert streamed == tokens[: len(streamed)] and before_stop(streamed, stop) == answer
    assert len(together[0]) < len(together[1]) and model.language.generation_config is own


def test_what_cannot_be_continued_is_refused_also_while_it_is_streamed(model):
    ids, mask = pad([[3, 4], [5]], 0, "right")
    with pytest.raises(UserError, match="padded on the left"):
        model.answers(ids, mask, [], [0], 8)
    with pytest.raises(UserError, match="limit=0 is the most tokens of an answer"):
        list(stream_tokens(partial(model.generate, ids[:1], mask[:1], [], [0], 0)))


def test_a_batch_without_answers_has_no_loss_and_a_gradient_of_zero_for_every_weight(model):
    ids, mask = pad([[3, 4]], 0, "right")
    answers = model(ids, mask, [], torch.full_like(ids, IGNORE))
    assert (float(answers.loss), answers.tokens) == (0.0, 0)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(answers.loss, trained)
    assert not any(gradient.any() for gradient in gradients)


# any language model


def small(name: str, vocabulary: int):
    config = getattr(transformers, name)(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        head_dim=8,
    )
    return transformers.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("family", ["Qwen2Config", "Qwen3Config", "LlamaConfig"])
def test_families_learn_from_a_folder_whole_or_with_an_adapter(family, tokenizer, chat, tmp_path):
    torch.manual_seed(0)
    save_language(small(family, len(tokenizer)), tokenizer, tmp_path / "language")
    encoded = chat.encode(TALK, [3])
    batch = (*pad([encoded.ids], 0, "right"), clips(3), torch.tensor([encoded.labels]))
    for lora in (None, LoRA(rank=4, alpha=8.0)):
        language = load_language(LanguageConfig(str(tmp_path / "language"), lora=lora, checkpointing=True))
        model = VisionLanguageModel(Projector(ProjectorConfig(), 24, 32), language).train()
        trained = unfreeze_language(language, lora is not None)
        model(*batch).loss.backward()
        assert all(p.grad is not None for p in trained if p.requires_grad) or lora is None
        assert model.projector.mlp[0].weight.grad.abs().sum() > 0
        adapters = [name for name, p in language.named_parameters() if p.requires_grad]
        assert lora is None or (adapters and all("lora_" in name for name in adapters))


def test_a_folder_gives_back_what_was_saved(tokenizer, tmp_path):
    torch.manual_seed(0)
    save_language(new_language(len(tokenizer), 32, 2, 2), tokenizer, tmp_path / "base")
    language = load_language(LanguageConfig(str(tmp_path / "base"), lora=LoRA(rank=4, alpha=8.0))).eval()
    for name, parameter in language.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    save_language(language, tokenizer, tmp_path / "adapted")
    again = load_language(LanguageConfig(str(tmp_path / "adapted"))).eval()
    ids = torch.tensor([[3, 4, 5]])
    assert torch.equal(again(ids).logits, language(ids).logits)
    assert not (Path(tmp_path) / "adapted/model.safetensors").exists()
    assert load_tokenizer(str(tmp_path / "adapted")).chat_template == CHATML


def test_a_language_model_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"language.source=.*cannot be loaded as AutoModelForCausalLM"):
        load_language(LanguageConfig(str(tmp_path)))


def test_weights_are_held_in_the_precision_that_is_asked_for(tokenizer, tmp_path):
    """transformers 5 calls it `dtype`. A setting that it does not know would leave the file's precision."""
    save_language(new_language(len(tokenizer), 32, 2, 2), tokenizer, tmp_path)
    for name in ("float32", "bfloat16"):
        language = load_language(LanguageConfig(str(tmp_path), dtype=name, lora=LoRA(rank=4, alpha=8.0)))
        base = {parameter.dtype for key, parameter in language.named_parameters() if "lora_" not in key}
        assert base == {getattr(torch, name)}


def test_a_damaged_language_model_is_one_sentence(tokenizer, tmp_path):
    def folder(name: str, file: str, change) -> LanguageConfig:
        save_language(new_language(len(tokenizer), 32, 2, 2), tokenizer, tmp_path / name)
        data = (tmp_path / name / file).read_bytes()
        (tmp_path / name / file).write_bytes(change(data))
        return LanguageConfig(str(tmp_path / name))

    cut = folder("cut", "model.safetensors", lambda data: data[:-50])
    renamed = folder(
        "renamed", "model.safetensors", lambda data: data.replace(b"1.mlp.up_proj", b"1.mlp.xx_proj")
    )
    wide = folder(
        "wide", "config.json", lambda data: data.replace(b'"hidden_size": 32', b'"hidden_size": 64')
    )
    for config, sentence in (
        (cut, "cannot be loaded as AutoModel"),
        (renamed, "lacks 1 of its model's weights"),
        (wide, "cannot be loaded as AutoModel"),
    ):
        with pytest.raises(UserError, match=f"language.source=.*{sentence}"):
            load_language(config)
    (tmp_path / "cut/tokenizer.json").unlink()
    with pytest.raises(
        UserError, match=r"the tokenizer in .*/cut reads no word of a sentence; is tokenizer.json missing"
    ):
        load_tokenizer(str(tmp_path / "cut"))
    language = load_language(
        LanguageConfig(str(folder("good", "config.json", bytes).source), lora=LoRA(4, 8.0))
    )
    save_language(language, tokenizer, tmp_path / "adapted")
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        whole = (tmp_path / "adapted" / file).read_bytes()
        (tmp_path / "adapted" / file).write_bytes(whole[:-50])
        with pytest.raises(UserError, match=r"language.source=.*adapted cannot be loaded as an adapter"):
            load_language(LanguageConfig(str(tmp_path / "adapted")))
        (tmp_path / "adapted" / file).write_bytes(whole)


def test_a_tokenizer_of_another_model_is_refused(tokenizer):
    from vjepa.language.media import FrameConfig
    from vjepa.language.video_chat import VideoChat
    from vjepa.models.encoder import Encoder, EncoderConfig

    encoder = Encoder(EncoderConfig(width=24, depth=1, heads=2, mlp_width=48, patch=8))
    small = VisionLanguageModel(Projector(ProjectorConfig(), 24, 32), new_language(50, 32, 1, 2))
    with pytest.raises(UserError, match="its language model only 50; they are no pair"):
        VideoChat(encoder, small, Chat(tokenizer, 100), FrameConfig())


def test_language_models_import_beside_any_torchvision():
    """transformers' text models import torchvision, whose operators may not fit torch: we import first."""
    ours = "from vjepa.language.language_model import from_pretrained"
    program = f"{ours}; from transformers import LlamaConfig, Qwen2ForCausalLM"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def gradients_of_half(rank: int, folder: Path) -> None:
    """One of two processes, each with a shard of the model below one root, and half of the conversations."""
    from torch.distributed.fsdp import fully_shard

    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = fully_shard(whole_model())
    model(*half(rank)).loss.backward()
    gradients = {name: parameter.grad.full_tensor() for name, parameter in model.named_parameters()}
    if rank == 0:
        torch.save(gradients, folder / "gradients.pt")
    torch.distributed.destroy_process_group()


def whole_model() -> VisionLanguageModel:
    torch.manual_seed(0)
    return VisionLanguageModel(Projector(ProjectorConfig(), 24, 32), new_language(300, 32, 2, 2))


def half(rank: int) -> tuple:
    words = torch.arange(6) + 10 * rank
    ids = torch.cat([words[:1], torch.full((3,), CLIP_TOKEN), words[1:]])[None]
    labels = ids.masked_fill(torch.arange(9) < 5, IGNORE)
    return ids, torch.ones_like(ids), [clips(3, 3)[rank]], labels


@pytest.mark.slow
def test_two_shards_below_one_root_learn_as_the_whole_does(tmp_path):
    torch.multiprocessing.spawn(gradients_of_half, (tmp_path,), nprocs=2)
    model = whole_model()
    sharded = torch.load(tmp_path / "gradients.pt", weights_only=True)
    (sum(model(*half(rank)).loss for rank in range(2)) / 2).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            sharded[name], parameter.grad, atol=1e-6, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}"
        )
