"""Every recipe parses against its stage, alone and with its overlays, and its networks can be built."""

import importlib
from pathlib import Path

import pytest
import torch
import yaml

from vjepa.benchmarks.anticipation_data import AnticipationData
from vjepa.data.clip_data import ClipData
from vjepa.data.labelled_clip_data import LabelledClipData
from vjepa.language.caption_data import CaptionData
from vjepa.models.ac_predictor import ACPredictor
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.robots.trajectory_data import TrajectoryData
from vjepa.training.grid_optim import GridConfig
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.training.stage_cli import StageCLI
from vjepa.training.sweep import command, read_sweep
from vjepa.weights.settings import settings as typed

CONF = Path(__file__).parents[1] / "conf"
STAGES = {
    "pretrain": ("Pretrain", ClipData),
    "cooldown": ("Cooldown", ClipData),
    "distil": ("Distil", ClipData),
    "probe": ("Probe", LabelledClipData),
}
STAGES |= dict.fromkeys(("align", "vlm"), ("VLM", CaptionData))  # two phases of one stage
STAGES |= {"anticipate": ("Anticipate", AnticipationData)}
STAGES |= {"ac": ("ActionConditioned", TrajectoryData), "clone": ("Clone", TrajectoryData)}
STAGES |= {"decode": ("Decode", TrajectoryData)}
STAGES |= {"state": ("ReadState", TrajectoryData)}
RECIPES = sorted(file for file in CONF.rglob("*.yaml") if file.stem in STAGES)
PARAMETERS = {
    "vits16": 22e6,
    "vitb16": 86e6,
    "vitl16": 304e6,
    "vith16": 632e6,
    "vitg16": 1012e6,
    "vitb16-2.1": 86e6,
    "vitl16-2.1": 304e6,
    "vitg16-2.1": 1012e6,
    "vitgigantic16-2.1": 1.85e9,
}  # as published


class Parsed(StageCLI):
    """The command line up to its resolved settings."""

    def before_instantiate_classes(self) -> None: ...

    def instantiate_classes(self) -> None: ...

    def _run_subcommand(self, subcommand: str) -> None: ...


def layers_of(recipe: Path) -> list[Path]:
    """The demo's recipe and what is laid over it. A size of pretraining goes with a data set: VideoMix22M."""
    mixture = "vm163m" if recipe.parent.name.endswith("-2.1") else "vm22m"
    below = CONF / "task" / mixture / recipe.name
    brings_data = recipe.parent.name.startswith(("own", "teacher", "continue"))
    is_size = recipe.parent.parent.name == "scale" and not brings_data and below.exists()
    return list(dict.fromkeys([CONF / recipe.name, *([below] if is_size else []), recipe]))


def settings(recipe: Path, *arguments: str):
    """The resolved settings of a recipe, and the command line that resolved them."""
    configs = layers_of(recipe)
    name, data = STAGES[recipe.stem]
    stage = getattr(importlib.import_module(f"stages.{'vlm' if name == 'VLM' else recipe.stem}"), name)
    args = ["fit", *(word for file in configs for word in ("--config", str(file))), *arguments]
    cli = Parsed(stage, data, args=args, seed_everything_default=0, save_config_callback=None)
    return cli.config.fit, cli


def as_optim(settings) -> OptimConfig:
    return OptimConfig(lr=Schedule(**vars(settings.lr)), weight_decay=Schedule(**vars(settings.weight_decay)))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: str(r.relative_to(CONF)))
def test_parses_and_builds_on_the_meta_device(recipe):
    config, cli = settings(recipe)
    with torch.device("meta"):
        if recipe.stem == "probe":
            # A recipe of a task goes with an encoder of any size.
            encoder = typed(EncoderConfig, yaml.safe_load((CONF / "encoder/vitl16.yaml").read_text()))
            assert len(GridConfig(**vars(config.model.grid)).heads(as_optim(config.model.optim))) in (
                1,
                3,
                20,
            )
            assert all(layer < encoder.depth for layer in config.model.layers)
            AttentiveProbe(ProbeConfig(**vars(config.model.probe)), encoder.width, config.model.classes)
        elif recipe.stem == "anticipate":
            assert (
                cli.parser.instantiate_classes(cli.config).fit.model.config.depth == config.model.probe.depth
            )
        elif recipe.stem in ("ac", "clone", "state", "decode"):
            model = cli.parser.instantiate_classes(cli.config).fit.model
            if recipe.stem == "ac":
                ACPredictor(model.config, EncoderConfig(width=64, heads=4))
        elif STAGES[recipe.stem][0] == "VLM":
            assert cli.parser.instantiate_classes(cli.config).fit.model.context == config.model.context
        else:
            assert cli.parser.instantiate_classes(cli.config).fit.model.target.embed.weight.is_meta
    name = "vlm" if STAGES[recipe.stem][0] == "VLM" else recipe.stem
    assert config.checkpoint.dirpath == f"runs/demo/{name}/checkpoints"


@pytest.mark.parametrize("file", sorted((CONF / "encoder").glob("*.yaml")), ids=lambda f: f.stem)
def test_encoders_have_the_published_sizes(file):
    with torch.device("meta"):
        encoder = Encoder(typed(EncoderConfig, yaml.safe_load(file.read_text())))
    count = sum(p.numel() for p in encoder.parameters())
    assert file.stem.startswith("tiny") or count == pytest.approx(PARAMETERS[file.stem], rel=0.02)


@pytest.mark.parametrize("file", sorted((CONF / "encoder").glob("*.yaml")), ids=lambda f: f.stem)
def test_an_encoder_laid_over_the_demo_keeps_nothing_of_the_demo_s(file):
    alone = typed(EncoderConfig, yaml.safe_load(file.read_text()))
    laid, _ = settings(CONF / "pretrain.yaml", "--model.encoder", str(file))
    assert typed(EncoderConfig, vars(laid.model.encoder.clone(with_meta=False))) == alone


def test_an_overlay_changes_what_it_says_and_nothing_else():
    demo, _ = settings(CONF / "pretrain.yaml")
    large, _ = settings(CONF / "scale/vitl16/pretrain.yaml")
    assert (demo.model.encoder.width, large.model.encoder.width) == (64, 1024)
    assert large.model.encoder.init_std == large.model.predictor.init_std == 0.02
    assert large.model.encoder.patch == 16 and large.trainer.max_steps == 240_000
    assert large.data.clip.aspect == demo.data.clip.aspect == (0.75, 1.35)


def test_the_cooldown_rate_ends_within_the_run():
    for recipe in RECIPES:
        if recipe.stem == "cooldown":
            config, _ = settings(recipe)
            assert config.model.optim.lr.decay == config.trainer.max_steps, recipe


@pytest.mark.parametrize("typo", ["--model.encoder.widht=3", "--data.clip.fsp=3", "--trainer.max_stpes=3"])
def test_unknown_keys_fail(typo, capsys):
    with pytest.raises(SystemExit):
        settings(CONF / "pretrain.yaml", typo)
    assert typo.split("=")[0].rsplit(".", 1)[-1] in capsys.readouterr().err


@pytest.mark.parametrize("file", sorted((CONF / "sweeps").glob("*.yaml")), ids=lambda f: f.stem)
def test_every_run_of_a_sweep_parses(file):
    sweep = read_sweep(file)
    recipe = CONF.parent / sweep.configs[0]
    for changes in sweep.runs.values():
        words = command(sweep, changes, 0, Path("out"))
        found, _ = settings(recipe, *words[words.index("--seed_everything") + 2 :])
        assert found.trainer.max_steps == changes["trainer.max_steps"]


def test_every_recipe_says_what_it_is():
    for file in CONF.rglob("*.yaml"):
        head = file.read_text().splitlines()
        assert head[0].startswith("# "), file
        assert file.parent.name == "encoder" or any(
            line.startswith(("#   make ", "#   python -m ", "#   vjepa ")) for line in head[:6]
        ), file


def test_an_8b_language_model_with_an_adapter_can_be_built():
    transformers = pytest.importorskip("transformers", reason="language models need the vlm extra")
    from vjepa.language.language_model import LoRA, add_adapter, unfreeze_language
    from vjepa.language.model import VisionLanguageModel
    from vjepa.models.projector import Projector, ProjectorConfig

    config, _ = settings(CONF / "scale/vitg16/vlm.yaml")
    sizes = {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    }
    llama = transformers.LlamaConfig(vocab_size=128_256, intermediate_size=14_336, **sizes)
    with torch.device("meta"):
        language = transformers.AutoModelForCausalLM.from_config(llama).requires_grad_(False)
        language = add_adapter(language, LoRA(**vars(config.model.language.lora)))
        model = VisionLanguageModel(
            Projector(ProjectorConfig(**vars(config.model.projector)), 1408, 4096), language
        )
    trained = sum(p.numel() for p in unfreeze_language(language, lora=True))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(8.2e9, rel=0.02)
    assert trained == pytest.approx(168e6, rel=0.02)
    assert model.projector.token_count((16, 16, 16)) < config.model.context


def test_the_published_action_conditioned_predictor_has_300m_parameters():
    config, cli = settings(CONF / "task/droid/ac.yaml")
    model = cli.parser.instantiate_classes(cli.config).fit.model
    encoder = typed(EncoderConfig, yaml.safe_load((CONF / "encoder/vitg16.yaml").read_text()))
    with torch.device("meta"):
        predictor = ACPredictor(model.config, encoder)
    assert sum(p.numel() for p in predictor.parameters()) == pytest.approx(300e6, rel=0.03)
    assert (config.trainer.max_steps, config.data.batch_size * 32) == (94_500, 256) and not model.standardise


@pytest.mark.parametrize("names", [("quick",), ("quick", "full")])
def test_planning_protocols_parse(names, capsys):
    from stages.plan import plan
    from vjepa.command.parser import parser_of_settings

    files = [word for name in names for word in ("--config", str(CONF / f"plan/{name}.yaml"))]
    with pytest.raises(SystemExit):
        parser_of_settings(plan, "plan").parse_args([*files, "--out", "x", "--print_config"])
    found = yaml.safe_load(capsys.readouterr().out)
    assert found["protocol"]["seeds"] == (100 if names == ("quick",) else 200)
    assert found["setting"]["planner"]["bounds"]["constraint"] == "box"


def body(file: Path) -> str:
    """A recipe without its comments."""
    return yaml.safe_dump(yaml.safe_load(file.read_text()))


def test_no_two_recipes_have_one_body():
    files = sorted(CONF.rglob("*.yaml"))
    same = [
        (str(one.relative_to(CONF)), str(other.relative_to(CONF)))
        for number, one in enumerate(files)
        for other in files[:number]
        if body(one) == body(other)
    ]
    assert same == []


def test_recipes_leave_it_to_the_support_matrix_what_was_run():
    assert [file for file in CONF.rglob("*.yaml") if "never run" in file.read_text().lower()] == []
