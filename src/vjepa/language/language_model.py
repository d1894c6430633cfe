"""Language models and their tokenizers: any causal model of transformers, whole or with a LoRA adapter.

transformers and peft are imported inside functions, since only users of language models have them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from vjepa.errors import UserError, require
from vjepa.language.model_folder import (
    ADAPTER,
    check_adapter_folder,
    check_is_here,
    check_model_folder,
    loading_errors,
)
from vjepa.weights.huggingface import read_json


@dataclass(frozen=True)
class LoRA:
    """An adapter: a low-rank change to each linear map but the last, instead of new weights. Needs peft."""

    rank: int = 64
    """Rank of each change."""
    alpha: float = 128.0
    """The change is scaled by alpha / rank."""
    dropout: float = 0.0
    """Share of the inputs of each change that training drops. It is drawn for every batch, so a run then
    depends on how its steps are cut into batches, and a resumed run draws others."""


@dataclass(frozen=True)
class LanguageConfig:
    """Which language model is loaded, in which precision, and which part of it may be trained."""

    source: str | None = None
    """Folder or hub name of a causal language model with tokenizer and chat template, such as Qwen or Llama.
    Not needed with init_from, which knows the model; another model is then an error."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the weights. bfloat16 takes half the memory; train whole models in float32 with
    trainer.precision=bf16-mixed."""
    lora: LoRA | None = None
    """Train an adapter instead of the weights."""
    checkpointing: bool = False
    """Compute the blocks again in the backward pass: a third more work, far less memory."""


def load_language(config: LanguageConfig) -> nn.Module:
    """The model, frozen but for the adapter if `lora` is given. Raises UserError if it cannot be loaded."""
    folder = resolve_source(config.source)
    is_adapter = (Path(folder) / ADAPTER).is_file()
    # An adapter's folder holds only the change, and names the model that it changes.
    base = adapter_base(Path(folder), config.lora) if is_adapter else folder
    model = load_base_model(base, config.dtype).requires_grad_(False)

    # Adapters are added after freezing, which would freeze them too (LLaVA-NeXT had this bug).
    if is_adapter:
        with loading_errors(folder, "an adapter"):
            # Without `low_cpu_mem_usage` it takes memory of any size that its settings name.
            model = import_peft().PeftModel.from_pretrained(
                model, folder, is_trainable=config.lora is not None, low_cpu_mem_usage=True
            )
            lacking = [name for name, value in model.named_parameters() if value.is_meta]
            require(not lacking, f"{folder} lacks {len(lacking)} tensors of its adapter: {lacking[:1]}")
    elif config.lora is not None:
        model = add_adapter(model, config.lora)
    if config.checkpointing:
        # The reentrant form would need inputs with gradients, which frozen embeddings do not have.
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def load_base_model(source: str, dtype: str) -> nn.Module:
    """The whole model in a folder or of a hub name. Raises UserError if some of its weights are missing."""
    if Path(source).is_dir():
        with loading_errors(source, "AutoModelForCausalLM"):
            check_model_folder(Path(source))
    model, report = from_pretrained(
        "AutoModelForCausalLM", source, dtype=getattr(torch, dtype), output_loading_info=True
    )
    # transformers would go on with random weights in their place.
    missing = sorted(report["missing_keys"])
    require(
        not missing,
        f"language.source={source} lacks {len(missing)} of its model's weights, such as {missing[:1]}",
    )
    broken = [name for name, value in model.named_parameters() if not value.isfinite().all()]
    require(not broken, f"language.source={source} holds numbers that are NaN or infinite, in {broken[:1]}")
    return model


def adapter_base(folder: Path, lora: LoRA | None) -> str:
    """Folder or hub name of the model that an adapter changes.

    Raises UserError if `lora` differs from the adapter's own settings.
    """
    with loading_errors(str(folder), "an adapter"):
        settings = read_json(folder / ADAPTER)
        check_adapter_folder(folder, (settings["r"], *(settings.get("rank_pattern") or {}).values()))
        own = LoRA(settings["r"], float(settings["lora_alpha"]), float(settings["lora_dropout"]))
        base = str(settings["base_model_name_or_path"])
    check_is_here(base, folder / ADAPTER)
    chained = (Path(base) / ADAPTER).is_file()
    require(not chained, f"{folder} is an adapter of an adapter, {base}; merge the two first")
    require(
        lora in (None, own),
        f"{folder} holds an adapter of {own}, not model.language.lora's {lora}; give it",
    )
    return resolve_source(base)


def load_tokenizer(source: str):
    """The tokenizer at the source.

    Raises UserError if there is none, or if it knows no word of an English sentence.
    """
    tokenizer = from_pretrained("AutoTokenizer", resolve_source(source))
    with loading_errors(source, "AutoTokenizer"):
        words = tokenizer.encode("What happens here?", add_special_tokens=False)
    # A folder without the tokenizer's files gives an empty tokenizer instead of an error.
    known = set(words) - {tokenizer.unk_token_id}
    require(bool(known), f"the tokenizer in {source} reads no word of a sentence; is tokenizer.json missing?")
    return tokenizer


def unfreeze_language(model: nn.Module, lora: bool) -> list[nn.Parameter]:
    """Let the model's weights be trained, or with `lora` only those of its adapter; returns them."""
    # peft names the weights of an adapter lora_A and lora_B.
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name if lora else True)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def has_adapter(model: nn.Module) -> bool:
    return hasattr(model, "peft_config")


def save_language(model: nn.Module, tokenizer, folder: Path, state: dict | None = None) -> None:
    """Write a folder that `load_language` and transformers read: the adapter if there is one, else all.

    state: The weights, where processes share those of the model out among them. Raises UserError if there is
    a file of that name, which transformers would pass over in silence.
    """
    require(not folder.is_file(), f"{folder} is a file; give a folder for the language model")
    model.save_pretrained(folder, state_dict=state)
    tokenizer.save_pretrained(folder)


# The format of Qwen: control tokens around every turn, and one form for all roles.
CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def new_tokenizer(texts: Iterable[str], vocabulary: int):
    """A byte-pair tokenizer learned from the texts, with the ChatML template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),  # all bytes, so that any text can be read
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|pad|>")
    fast.chat_template = CHATML
    return fast


def new_language(vocabulary: int, width: int, depth: int, heads: int) -> nn.Module:
    """An untrained Qwen2 whose input and output embeddings are the same weights."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=3 * width,
        tie_word_embeddings=True,
        # Qwen2's own 0.02 suits widths of thousands. In a narrow network signals would die out.
        initializer_range=width**-0.5,
    )
    return Qwen2ForCausalLM(config)


def embedding_std(model: nn.Module) -> float:
    """Standard deviation of the word embeddings."""
    return float(model.get_input_embeddings().weight.detach().float().std())


def add_adapter(model: nn.Module, lora: LoRA) -> nn.Module:
    """The model with a new adapter, which is all of it that can be trained."""
    config = import_peft().LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",  # peft leaves out the last one, which maps to the vocabulary
        task_type="CAUSAL_LM",
    )
    return import_peft().get_peft_model(model, config)


def resolve_source(source: str) -> str:
    """The absolute path of a folder, which holds from any working directory; a hub name as it is."""
    folder = Path(source)
    return str(folder.resolve()) if folder.is_dir() else source


def from_pretrained(kind: str, source: str, **settings: object):
    """What the class `kind` of transformers loads from the source. Raises UserError if it cannot."""
    try:
        import transformers
    except ImportError as error:
        raise UserError("language models need transformers: pip install 'vjepa[vlm]'") from error
    with loading_errors(source, kind):
        # Without a word, transformers would ask on the terminal whether to run a model's own code.
        return getattr(transformers, kind).from_pretrained(source, trust_remote_code=False, **settings)


def import_peft():
    """The module peft. Raises UserError if it is not installed."""
    try:
        import peft
    except ImportError as error:
        raise UserError("language.lora needs peft: pip install 'vjepa[vlm]'") from error
    return peft
