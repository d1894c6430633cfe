"""Language models and their tokenizers: any causal one of transformers, whole or with a LoRA adapter.

The one file that imports transformers and peft, and only inside its functions: who trains no language model needs neither.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from torch import nn

from vjepa.errors import UserError, require

ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class LoRA:
    """Low-rank changes to all linear maps but the last, instead of new weights. Needs peft."""

    rank: int = 64
    """Rank of each change."""
    alpha: float = 128.0
    """The change is scaled by alpha / rank."""
    dropout: float = 0.0
    """Share of a change's inputs that training drops."""


@dataclass(frozen=True)
class LanguageConfig:
    """Which language model, and how it is held."""

    source: str | None = None
    """Folder or hub name of a causal language model with tokenizer and chat template, such as Qwen2, 2.5, 3 or Llama. With
    init_from it is known already, and another one is refused."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of its weights. bfloat16 halves them; train whole models in float32 with trainer.precision=bf16-mixed."""
    lora: LoRA | None = None
    """Train an adapter instead of the weights."""
    checkpointing: bool = False
    """Recompute the blocks in the backward pass: a third more work, far less memory."""


def load_language(config: LanguageConfig) -> nn.Module:
    """The model, frozen but for a new or trained adapter. Raises UserError if there is none at the source."""
    folder = found(config.source)
    adapted = (Path(folder) / ADAPTER).is_file()
    model = language_at(
        adapter_base(Path(folder), config.lora) if adapted else folder, config.dtype
    ).requires_grad_(False)
    if adapted:
        adapter = peft().PeftModel
        with loading(folder, "an adapter"):
            model = adapter.from_pretrained(model, folder, is_trainable=config.lora is not None)
    elif config.lora is not None:  # after freezing: the other order would freeze the adapter too
        model = with_adapter(model, config.lora)
    if config.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def language_at(source: str, dtype: str) -> nn.Module:
    """The whole model in a folder or of that name. Raises UserError if some of its weights are not there."""
    kind = "AutoModelForCausalLM"
    model, about = pretrained(kind, source, dtype=getattr(torch, dtype), output_loading_info=True)
    missing = sorted(about["missing_keys"])
    require(
        not missing,
        f"language.source={source} lacks {len(missing)} of its model's weights, such as {missing[:1]}",
    )
    return model


def adapter_base(folder: Path, lora: LoRA | None) -> str:
    """Where the model is that an adapter changes. Raises UserError if the adapter is to be trained on as another one."""
    with loading(str(folder), "an adapter"):
        about = json.loads((folder / ADAPTER).read_text())
        theirs = LoRA(about["r"], float(about["lora_alpha"]), float(about["lora_dropout"]))
        base = about["base_model_name_or_path"]
    require(
        lora in (None, theirs),
        f"{folder} holds an adapter of {theirs}, not model.language.lora's {lora}; give it",
    )
    return found(base)


def load_tokenizer(source: str):
    """The tokenizer at the source. Raises UserError if there is none, or one that reads nothing: what a folder without its
    files gives."""
    tokenizer = pretrained("AutoTokenizer", found(source))
    read = set(tokenizer.encode("What happens here?", add_special_tokens=False)) - {tokenizer.unk_token_id}
    require(bool(read), f"the tokenizer in {source} reads no word of a sentence; is tokenizer.json missing?")
    return tokenizer


def train_language(model: nn.Module, lora: bool) -> list[nn.Parameter]:
    """Let the model's weights, or with `lora` those of its adapter, be trained; returns them."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name if lora else True)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def has_adapter(model: nn.Module) -> bool:
    return hasattr(model, "peft_config")


def save_language(model: nn.Module, tokenizer, folder: Path) -> None:
    """A folder that `load_language` and transformers read: the adapter if there is one, else the whole model."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def new_tokenizer(texts: Iterable[str], vocabulary: int):
    """A tokenizer of bytes and their pairs learned from the texts, with the ChatML template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters, special = pre_tokenizers.ByteLevel.alphabet(), ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=letters, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|pad|>")
    fast.chat_template = CHATML
    return fast


def new_language(vocabulary: int, width: int, depth: int, heads: int) -> nn.Module:
    """An untrained causal language model of Qwen2's kind, its input and output embeddings tied.

    Qwen2's initial weights of 0.02 are made for widths of thousands: in a narrow network signals would die out."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=3 * width,
        tie_word_embeddings=True,
        initializer_range=width**-0.5,
    )
    return Qwen2ForCausalLM(config)


def embedding_std(model: nn.Module) -> float:
    """Standard deviation of the words' embeddings."""
    return float(model.get_input_embeddings().weight.detach().float().std())


def with_adapter(model: nn.Module, lora: LoRA) -> nn.Module:
    config = peft().LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return peft().get_peft_model(model, config)


def found(source: str) -> str:
    """The source as a folder, from wherever it is looked for, if it is one; else as the hub's name that it must be."""
    folder = Path(source)
    return str(folder.resolve()) if folder.is_dir() else source


def pretrained(kind: str, source: str, **settings: object):
    """What transformers' class of that name finds at the source."""
    try:
        import transformers
    except ImportError as error:
        raise UserError("language models need transformers: pip install -e '.[vlm]'") from error
    with loading(source, kind):
        return getattr(transformers, kind).from_pretrained(source, **settings)


@contextmanager
def loading(source: str, kind: str) -> Iterator[None]:
    """What transformers and peft raise for files that are missing, damaged or do not fit, as UserError."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"language.source={source} cannot be loaded as {kind}: {first}") from error


def peft():
    """The module, imported when an adapter is wanted."""
    try:
        import peft as module
    except ImportError as error:
        raise UserError("language.lora needs peft: pip install -e '.[vlm]'") from error
    return module
