"""Which commands there are: what is typed after `vjepa`, what it does, and the function that does it.

Functions are named and not imported, because a command loads only what it needs, and an extra such as MuJoCo
may be missing.
"""

from typing import NamedTuple


class Entry(NamedTuple):
    """One command of the table."""

    line: str
    """What it does, for the list of commands."""
    target: str
    """`module:function`; a typed function that Python can call with the same arguments."""


GROUPS = {
    "start here": {
        "demo": Entry(
            "record clips, pretrain, probe: the whole recipe in minutes", "vjepa.command.demo:demo"
        ),
        "look": Entry("a page of videos beside what an encoder sees in them", "vjepa.features.look:look"),
        "predict": Entry("classes of new videos, by a trained probe", "vjepa.features.predict:predict"),
        "features": Entry("features of many videos, to Parquet files", "vjepa.features.extraction:extract"),
        "neighbours": Entry("the videos most alike, by features", "vjepa.features.neighbours:neighbours"),
        "ask": Entry("ask a language model about a video", "vjepa.language.ask:ask"),
        "plan": Entry("reach a goal image with a simulated arm", "vjepa.sim.closed_loop.show:plan"),
    },
    "train": {
        "sweep": Entry("recipes side by side, over seeds", "vjepa.training.sweep:run_sweep"),
        "tensorboard": Entry("curves and images of all runs", "vjepa.command.tensorboard:tensorboard"),
    },
    "judge": {
        "report": Entry("the table of a run's scores", "vjepa.evaluation.report:report"),
        "evaluate": Entry(
            "questions about videos, beside controls", "vjepa.benchmarks.video_questions:evaluate_files"
        ),
        "landscape": Entry("energies over actions", "vjepa.planning.recorded_landscape:landscape"),
        "diagnose-planning": Entry(
            "what limits the planner: model, energy or search",
            "vjepa.sim.closed_loop.diagnosis:diagnose_planning",
        ),
        "bench planning": Entry("seconds for a plan", "vjepa.benchmarks.planning_speed:bench_planning"),
        "bench probe-grid": Entry(
            "a grid of probes beside a loop", "vjepa.benchmarks.probe_grid_speed:bench_probe_grid"
        ),
        "bench recording": Entry("frames per second", "vjepa.sim.recording.speed:bench_recording"),
    },
    "data": {
        "data check": Entry("a list of videos: is it fit to train on?", "vjepa.data.check:check_manifest"),
        "data shards": Entry(
            "a list of videos, packed into tar files that are read at random", "vjepa.data.shards:pack_shards"
        ),
        "data check-conversations": Entry(
            "the same for conversations", "vjepa.language.check:check_conversations"
        ),
        "data record-clips": Entry("clips of the demo world", "vjepa.sim.recording.record:record"),
        "data record-robot": Entry(
            "robot episodes of the demo world", "vjepa.sim.recording.robot_episodes:record_robot"
        ),
        "data record-questions": Entry(
            "questions about recorded clips", "vjepa.sim.recording.questions:record_questions"
        ),
        "data gallery": Entry("a picture of the demo's classes", "vjepa.sim.recording.gallery:gallery"),
    },
    "weights": {
        "weights info": Entry("what a file of weights is", "vjepa.weights.info:info"),
        "weights released": Entry("the published models, as a table", "vjepa.weights.released:released"),
        "weights untrained": Entry("the same networks, untrained", "vjepa.weights.untrained:untrained"),
        "weights convert": Entry(
            "weights for transformers, in Meta's layout, or in ours", "vjepa.weights.out.convert:convert"
        ),
        "weights diff": Entry("whether two sources hold the same networks", "vjepa.weights.out.diff:diff"),
        "weights export": Entry(
            "an encoder or probe as ONNX, or for torch.export", "vjepa.weights.out.portable:export_portable"
        ),
        "weights tiny-language-model": Entry(
            "a language model of the demo's size", "vjepa.language.tiny_language_model:train_on_files"
        ),
    },
}

STAGE_COMMANDS = {
    "fit": "train a stage",
    "validate": "a stage's validation, with the newest checkpoint",
    "test": "a stage's test, with the newest checkpoint",
}
"""The commands that take the name of a stage."""

STAGES = {
    "pretrain": "stages.pretrain",
    "cooldown": "stages.cooldown",
    "distil": "stages.distil",
    "probe": "stages.probe",
    "anticipate": "stages.anticipate",
    "ac": "stages.ac",
    "state": "stages.state",
    "clone": "stages.clone",
    "decode": "stages.decode",
    "align": "stages.vlm",
    "vlm": "stages.vlm",
}
"""Name of a stage, as recipes and run folders have it -> its module."""

COMMANDS = {words: command for group in GROUPS.values() for words, command in group.items()}

FORMER = {
    "check-manifest": "data check",
    "check-conversations": "data check-conversations",
    "record-clips": "data record-clips",
    "record-robot": "data record-robot",
    "record-questions": "data record-questions",
    "gallery": "data gallery",
    "untrained": "weights untrained",
    "tiny-language-model": "weights tiny-language-model",
    "bench-planning": "bench planning",
    "bench-probe-grid": "bench probe-grid",
    "bench-recording": "bench recording",
}
"""Names before version 0.2, which only the error for them knows."""
