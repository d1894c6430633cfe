"""The command `plan`: one episode of the planner in the demo world, in half a minute and before any training.

    vjepa plan --film

The whole evaluation, beside its baselines and on many worlds, is the stage `python -m stages.plan`.
"""

from pathlib import Path

from vjepa.drawing.outputs import check_outputs
from vjepa.errors import require
from vjepa.sim.closed_loop.episodes import EpisodeRunner, Job
from vjepa.sim.closed_loop.film import film_episode, first_episode
from vjepa.sim.closed_loop.setting import PlannerConfig, PolicyWeights, Setting
from vjepa.sim.closed_loop.tasks import FIRST_SEED, TaskName
from vjepa.sim.closed_loop.unused_actions import announce_unused_actions
from vjepa.weights.box import BOX
from vjepa.weights.card import read_card

FILES = ("film.gif", "film.mp4", "film.png")


def plan(
    *,
    encoder: str = BOX,
    ac: str = BOX,
    state: str = "",
    task: TaskName = "reach",
    seed: int = 0,
    out: Path = Path("plan"),
    film: bool = False,
    planner: PlannerConfig = PlannerConfig(top=4),
) -> None:
    """Let the planner reach a goal image in the demo world, and print how far from it the hand ends.

    Args:
        encoder: A stage's export, or `demo` for the weights in the package.
        ac: Export of the AC stage on that encoder, or `demo`.
        state: Export of the state stage on that encoder; without it the energy compares tokens alone.
        task: What is to be done.
        seed: Decides the world, its start and its goal. No recorded episode uses these worlds.
        out: Folder for the film.
        film: Write film.gif, film.mp4 and film.png: what the camera sees, what the model imagined, the goal.
        planner: How actions are searched.
    """
    require(0 <= seed < 2**31, f"--seed {seed}: give a whole number from 0 to {2**31 - 1}")
    if film:
        check_outputs([out / name for name in FILES])
    setting = Setting(PolicyWeights(encoder=encoder, ac=ac, state=state), planner)
    announce_unused_actions(setting, ["model"], [task])
    runner = EpisodeRunner(setting)
    episode = first_episode(task, seed, runner.world())
    seed = episode.seed - FIRST_SEED  # a later one, where the world of the first does not allow the task
    before = 100 * episode.distance()
    outcome = runner.play(Job(task, "model", seed))
    after = 100 * outcome.distance
    judged = "solved" if outcome.success else "not solved"
    print(f"{task}: {before:.1f} cm from the goal, after {outcome.actions} actions {after:.1f} cm ({judged})")
    print(f"weights: {read_card(ac).name}; {outcome.seconds:.1f} s for {outcome.calls} imagined actions")
    if film:
        film_episode(runner, task, "model", seed, out)
        print(f"film: {', '.join(str(out / name) for name in FILES)}")
