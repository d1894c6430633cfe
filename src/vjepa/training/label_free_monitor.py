"""At the end of a pretraining on video without labels: did it learn anything?"""

from pathlib import Path
from textwrap import indent

import lightning as L

from vjepa.data.clip_data import ClipData
from vjepa.data.manifest import NO_LABEL, Manifest
from vjepa.data.means import Means
from vjepa.drawing.event_writers import event_writers
from vjepa.errors import UserError
from vjepa.evaluation.collapse import mean_baseline
from vjepa.evaluation.label_free import LabelFree, label_free
from vjepa.evaluation.unlabelled_clips import read_unlabelled_clips
from vjepa.training.pretraining_outputs import Outputs
from vjepa.training.sharded import whole

LAST = 20
"""Steps over which the loss is averaged."""


class LabelFreeMonitor(L.Callback):
    """Prints readings that need no labels, beside an untrained encoder, and writes `label_free.json`.

    It does nothing where every manifest has labels: read-outs of the labels say more. Nor does it judge a
    trial (`trainer.overfit_batches`, `trainer.fast_dev_run`), which sees a few clips only.
    """

    def __init__(self, clips: int = 64) -> None:
        """
        Args:
            clips: Most clips that are read.
        """
        self.clips = clips
        self.losses = Means(("loss",))
        self.result: LabelFree | None = None

    def state_dict(self) -> dict:
        # Lightning saves that of the first device, and all devices go on from it.
        return {"losses": self.losses.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.losses.load_state_dict(state["losses"])

    def on_train_batch_end(self, trainer, stage, outputs: Outputs, batch, batch_idx) -> None:
        if trainer.global_step > stage.total_steps - LAST:
            share = outputs["l1"] / mean_baseline(outputs["targets"])
            self.losses.add({"loss": share}, len(outputs["targets"]))

    def on_train_end(self, trainer, stage) -> None:
        with whole(stage.target):
            self.read(trainer, stage)

    def read(self, trainer: L.Trainer, stage: L.LightningModule) -> None:
        """Say it in the first process, if there is something to say."""
        means = self.losses.compute(trainer.strategy)
        manifests = manifests_without_labels(trainer.datamodule)
        # All processes hold the same target encoder. A run that was stopped continues later.
        finished = trainer.global_step >= stage.total_steps
        is_trial = trainer.overfit_batches or trainer.fast_dev_run
        if not (manifests and finished and means and trainer.is_global_zero) or is_trial:
            return
        try:
            clips = read_unlabelled_clips(manifests, trainer.datamodule.clip, self.clips)
        except UserError as error:
            print(f"order and speed are not read: {error}")
            return
        self.result = label_free(stage.target, clips, means["loss"], stage.seed)
        self.report(trainer, self.result)

    def report(self, trainer: L.Trainer, result: LabelFree) -> None:
        """To the terminal, to the run's folder, and to TensorBoard."""
        print(result.table())
        result.write(Path(trainer.default_root_dir) / "label_free.json")
        for writer in event_writers(trainer):
            # Markdown shows indented text in a fixed-width font, which keeps the columns of the table.
            text = f"{result.sentence()}\n\n{indent(result.table(), '    ')}"
            writer.add_text("label_free", text, trainer.global_step)


def manifests_without_labels(data: ClipData) -> list[Manifest]:
    """The validation manifest if it has no labels, else the training manifests that have none."""
    held_out = [data.val_manifest] if data.val_manifest else []
    for manifests in (held_out, data.train_manifests):
        unlabelled = [manifest for manifest in manifests if (manifest.labels == NO_LABEL).all()]
        if unlabelled:
            return unlabelled
    return []
