"""Folders of language models that others wrote: of any size, with code of their own, with pickled weights."""

import io
import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file

from vjepa.errors import UserError
from vjepa.language.language_model import (
    LanguageConfig,
    LoRA,
    load_language,
    load_tokenizer,
    new_language,
    new_tokenizer,
    save_language,
)

CODE = "raise SystemExit('code of a model was run')"
AUTO_MAP = {"auto_map": {"AutoConfig": "modeling_x.Config", "AutoModelForCausalLM": "modeling_x.Model"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small model, and an adapter of it."""
    folder = tmp_path_factory.mktemp("language")
    tokenizer = new_tokenizer(["What happens here? Nothing."], 300)
    save_language(new_language(len(tokenizer), 8, 1, 2), tokenizer, folder / "base")
    adapted = load_language(LanguageConfig(str(folder / "base"), lora=LoRA(4, 8.0)))
    save_language(adapted, tokenizer, folder / "adapter")
    return folder


def changed(made, tmp_path, kind: str, file: str, change: dict) -> LanguageConfig:
    folder = tmp_path / kind
    shutil.copytree(made / kind, folder)
    known = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(known | change))
    return LanguageConfig(str(folder))


def refusal(config: LanguageConfig, load=load_language) -> str:
    with pytest.raises(UserError) as error:
        load(config)
    assert str(config.source) in str(error.value) and str(error.value).isprintable()
    return str(error.value)


@pytest.mark.parametrize(
    "claim",
    [
        *({"num_hidden_layers": value} for value in (200_000, 10**9, "x", [1], -1)),
        *({"hidden_size": value} for value in (20_000, 10**9, "8", -8, 0)),
        *({"vocab_size": value} for value in (10**9, None)),
        *({"intermediate_size": 10**9}, {"num_attention_heads": 10**9}, {"model_type": ["x"]}),
    ],
    ids=str,
)
def test_a_model_of_any_size_is_refused(made, tmp_path, claim):
    refusal(changed(made, tmp_path, "base", "config.json", claim))


def test_code_of_a_model_is_neither_run_nor_asked_about(made, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def readline(self, *_):
            raise AssertionError("asked on the terminal")

    monkeypatch.setattr(sys, "stdin", Terminal())
    for model_type in ("qwen2", "mine"):  # a known one is taken from transformers
        folder = tmp_path / model_type
        config = changed(made, folder, "base", "config.json", AUTO_MAP | {"model_type": model_type})
        (folder / "base/modeling_x.py").write_text(CODE)
        if model_type == "mine":
            assert "Python code of its own, which is never run" in refusal(config)
        else:
            load_language(config)
        tokenizer = {"auto_map": {"AutoTokenizer": ["modeling_x.T", None]}, "tokenizer_class": "T"}
        known = json.loads((folder / "base/tokenizer_config.json").read_text())
        (folder / "base/tokenizer_config.json").write_text(json.dumps(known | tokenizer))
        try:
            load_tokenizer(config.source)
        except UserError as error:
            assert config.source in str(error)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"r": 10**9}, "says rank 1000000000"),
        ({"r": "4"}, "says rank '4'"),
        ({"rank_pattern": {".*": 10**9}}, "says rank 1000000000"),
        ({"base_model_name_or_path": "nobody/has-this-model"}, "nobody/has-this-model, which is not on this"),
        ({"base_model_name_or_path": "../no/such/folder"}, "which is not on this machine"),
        ({"peft_type": "X"}, "lacks 'X'"),
        ({"modules_to_save": ["embed_tokens"]}, "lacks 'base_model"),
    ],
    ids=str,
)
def test_an_adapter_names_what_is_here_and_as_large_as_its_tensors(made, tmp_path, change, words):
    assert words in refusal(changed(made, tmp_path, "adapter", "adapter_config.json", change))


def test_an_adapter_of_an_adapter(made, tmp_path):
    base = {"base_model_name_or_path": str(made / "adapter")}
    assert "adapter of an adapter" in refusal(changed(made, tmp_path, "adapter", "adapter_config.json", base))


def test_pickled_weights_are_read_without_their_code(made, tmp_path):
    class Harm:
        def __reduce__(self):
            return exit, ("harm",)

    config = changed(made, tmp_path, "base", "config.json", {})
    folder = tmp_path / "base"
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    load_language(config)
    torch.save(state | {"x": Harm()}, folder / "pytorch_model.bin")
    assert "holds Python code" in refusal(config)
