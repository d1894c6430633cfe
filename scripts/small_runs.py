"""Small runs of every stage, on the demo's data, beside a reference that nothing disturbs."""

import random
import shutil
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from scripts.forked import Started, start
from vjepa.errors import require

REPOSITORY = Path(__file__).resolve().parent.parent
MODULES = {"align": "vlm"}
"""Phases whose stage has another name."""
SMALL = (
    *("--trainer.max_steps", "24", "--trainer.val_check_interval", "8", "--data.batch_size", "4"),
    *("--checkpoint.every_n_train_steps", "3", "--trainer.enable_progress_bar", "false"),
    *("--trainer.callbacks", "null"),
)


class Runs:
    """Runs of small recipes below a folder that holds the demo's data.

    seed: Decides the moments at which they are disturbed.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.seconds: dict[str, float] = {}

    def out(self, stage: str, run: str) -> Path:
        return self.folder / "runs" / run / stage

    def log(self, stage: str, run: str) -> str:
        """What a run has printed."""
        return (self.out(stage, run) / "log.txt").read_text()

    def start(self, stage: str, run: str, *more: str) -> Started:
        """Start or continue a stage, with more of a command line."""
        out = self.out(stage, run)
        out.mkdir(parents=True, exist_ok=True)
        recipe = str(REPOSITORY / "conf" / f"{stage}.yaml")
        module = f"stages.{MODULES.get(stage, stage)}"
        words = [module, "fit", "--config", recipe, "--out", str(out.relative_to(self.folder)), *SMALL, *more]
        return start(words, self.folder, out / "log.txt")

    def finish(self, stage: str, run: str, *more: str) -> None:
        """Run a stage to its end. Raises UserError if it fails."""
        started = self.start(stage, run, *more)
        status = started.wait()
        require(status == 0, f"{stage} ended with status {status}; {started.log} holds what it printed")

    def reference(self, stage: str) -> float:
        """Run a stage undisturbed, once; the seconds that it takes."""
        if stage not in self.seconds:
            shutil.rmtree(self.out(stage, "demo"), ignore_errors=True)
            begin = time.monotonic()
            self.finish(stage, "demo", "--checkpoint.save_top_k", "-1")
            self.seconds[stage] = time.monotonic() - begin
        return self.seconds[stage]

    def fresh(self, stage: str, run: str) -> str:
        """A run of which nothing is left of earlier tries; its name."""
        shutil.rmtree(self.out(stage, run), ignore_errors=True)
        return run

    def unfinished(self, stage: str, run: str) -> Path:
        """A copy of the reference without its export and its last step; its folder."""
        self.reference(stage)
        out = self.out(stage, self.fresh(stage, run))
        shutil.copytree(self.out(stage, "demo"), out)
        (out / "model.safetensors").unlink()
        (out / "log.txt").unlink()
        (out / "checkpoints" / "step=24.ckpt").unlink()
        return out

    def difference(self, stage: str, run: str, reference: str = "demo", of_all: bool = True) -> float:
        """The largest difference of an exported weight from that of the reference, the language model's too.

        of_all: Also of the biases of keys, which change no output.
        """
        expected = weights_in(self.out(stage, reference))
        found = weights_in(self.out(stage, run))
        require(expected.keys() == found.keys(), f"the export of {run} holds other tensors")
        gaps = {name: np.abs(found[name] - value) for name, value in expected.items()}
        return max(
            float((gap if of_all else of_outputs(name, gap)).max(initial=0.0)) for name, gap in gaps.items()
        )


def weights_in(out: Path) -> dict[str, np.ndarray]:
    """The tensors of all exports in the folder of a run."""
    files = [out / "model.safetensors", *out.glob("language/*.safetensors")]
    return {
        f"{file.relative_to(out)}: {name}": value for file in files for name, value in load_file(file).items()
    }


def of_outputs(name: str, gap: np.ndarray) -> np.ndarray:
    """The differences of a tensor, without those of the biases of keys.

    They drop out of the softmax. Their gradient is rounding alone, which AdamW enlarges.
    """
    if not name.endswith("qkv.bias"):
        return gap
    queries, _, values = np.split(gap, 3)
    return np.concatenate([queries, values])
