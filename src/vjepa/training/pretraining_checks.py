"""Whether the settings of a pretraining agree with each other and with its data."""

import lightning as L

from vjepa.data.clip_data import ClipData
from vjepa.errors import announce, require
from vjepa.models.predictor import Predictor
from vjepa.objectives import ema
from vjepa.training.mask_groups import check_groups
from vjepa.training.stage_cli import check_divisible


def check_objective(stage: L.LightningModule, data: ClipData) -> None:
    """Raise UserError for masks, momentum, context or images that do not fit."""
    check_groups(stage.masks, check_divisible(stage.encoder, data.clip), data.batch_size, stage.seed)
    shares = {name: getattr(stage.momentum, name) for name in ("start", "peak", "final")}
    ema.check_momentum(shares, stage.half_life)
    check_images(stage, data)
    width = stage.predictor.config.target_width
    require(
        width is None or "teacher" in getattr(stage, "FROZEN", ()),
        f"model.predictor.target_width={width} is for predictors of a teacher's tokens; run `distil` with "
        "model.teacher, or leave it out",
    )
    contexts = [stage.context, *([stage.images.context] if stage.images else [])]
    for context in contexts:
        require(
            (context is not None) == stage.predictor.config.dense,
            "model.predictor.dense is the output that model.context trains, and with images "
            "model.images.context: give all of them or none",
        )


def check_own_tokens(predictor: Predictor, source: str) -> None:
    """Raise UserError for a predictor of a teacher's tokens, where those of its own encoder are needed."""
    width = predictor.config.target_width
    text = f"{source} holds a distilled encoder, whose predictor predicts a teacher's tokens of width {width}"
    require(width is None, f"{text}; give weights of a pretraining or a cooldown")


def check_teacher(stage: L.LightningModule, data: ClipData) -> None:
    """Raise UserError unless a teacher's tokens are as wide as the answers, and in the same places."""
    width = stage.teacher.config.width
    answer = stage.predictor.config.target_width
    text = f"model.predictor.target_width={answer}, and the tokens of the teacher {stage.source} have {width}"
    require(answer == width, f"{text}; give {width}")
    grids = [check_divisible(network, data.clip) for network in (stage.encoder, stage.teacher)]
    text = f"model.encoder makes {grids[0]} tokens of a clip, and the teacher {stage.source} {grids[1]}"
    require(grids[0] == grids[1], f"{text}; give the student the teacher's patch and tubelet")


def check_images(stage: L.LightningModule, data: ClipData) -> None:
    """Raise UserError unless the data has images if the stage trains on them, and masks fit them."""
    text = "model.images says how single images are trained on, and data.images where they are; "
    text += "give both or neither"
    require((stage.images is None) == (data.images is None), text)
    if stage.images:
        grid = check_divisible(stage.encoder, data.images.frame(data.clip), "data.images")
        count = data.batch_size * data.images.per_clip
        names = ("data.batch_size x data.images.per_clip", "model.images.masks")
        check_groups(stage.images.masks, grid, count, stage.seed, names)
    elif stage.encoder.config.image_tokenizer and not stage.init_from:
        announce("model.encoder.image_tokenizer reads single images, and is not trained without model.images")
    one_frame = data.clip.frames == 1 and stage.encoder.config.image_tokenizer
    text = "data.clip.frames=1: to an encoder with image_tokenizer such clips are images"
    require(not one_frame, f"{text}; give longer clips, and single images as data.images")
