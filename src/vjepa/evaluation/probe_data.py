"""The clips of a probe. A score on clips that were trained on is no evidence, so splits share no clips."""

from pathlib import Path

from vjepa.data.labelled_clip_data import LabelledClipData
from vjepa.data.targets import check_disjoint, spans
from vjepa.errors import require


class ProbeData(LabelledClipData):
    """Labelled clips in three splits. Validation clips may be test clips if no head is chosen on them."""

    def setup(self, stage: str) -> None:
        """Read the manifests. Raises ManifestError if splits share clips."""
        super().setup(stage)
        splits = {"train": self.train_manifests, "val": [self.val_manifest], "test": [self.test_manifest]}
        times = {name: spans(manifests) for name, manifests in splits.items()}
        pairs = [("train", "val"), ("train", "test")]
        # Without a choice between heads, validation is a first look at the test and decides nothing.
        if self.trainer.lightning_module.chooses:
            pairs.append(("val", "test"))
        check_disjoint(times, pairs)


def check_held_out(data: LabelledClipData, heads: int) -> None:
    """Raise UserError if the validation clips, on which one of the heads is chosen, are the test clips."""
    # Resolved, because two paths may lead to one file.
    same = Path(data.val).resolve() == Path(data.test).resolve()
    require(
        not same,
        f"data.val and data.test are both {data.test}, so a head chosen on one of {heads} is "
        "chosen on the test split; hold out a part of the training clips as "
        "data.val, or say so with --model.selection best_on_test",
    )
