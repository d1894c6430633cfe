"""Laws of the demo world: determinism, true deltas, clips that no single frame tells, images by geometry."""

import csv
import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco")

from vjepa.__main__ import main
from vjepa.drawing.captions import GAP
from vjepa.drawing.film import write_mp4
from vjepa.robots.euler import euler_to_matrix, matrix_to_euler
from vjepa.sim.recording.director import Director
from vjepa.sim.recording.gallery import class_table
from vjepa.sim.recording.motion_clips import film_pair
from vjepa.sim.recording.record import RecordConfig, clip_seed, pairs_per_split, record
from vjepa.sim.recording.scripted_episodes import play_script
from vjepa.sim.recording.shots import CLASSES, MotionClipConfig, draw_passage
from vjepa.sim.world import skills
from vjepa.sim.world.arm import Command, Simulation
from vjepa.sim.world.env import DemoWorld, WorldConfig
from vjepa.sim.world.poses import matrix_to_rotvec, rotvec_to_matrix
from vjepa.sim.world.rays import Hits
from vjepa.sim.world.render import Renderer, outline
from vjepa.sim.world.scene import SceneConfig, draw_scene, hand_rotation
from vjepa.sim.world.things import Thing

SHORT = MotionClipConfig(size=32, seconds=0.5, fps=30)
EMPTY = SceneConfig(objects=(0, 0), tray=0.0, occluder=0.0)
FULL = SceneConfig(tray=1.0, occluder=1.0)


def project(scene, point, size):
    """A point (3,) in metres -> (column, row, depth): the pinhole, written once more."""
    x, y, z = scene.camera.rotation.T @ (np.array(point) - scene.camera.position)
    focal, _, centre = scene.camera.intrinsics(size)[0]
    return centre + focal * x / z, centre + focal * y / z, z


def world_with(place, seed=0, size=128, **light):
    """A table with one ball at a place, the hand out of the way: (scene, simulation, image)."""
    ball = Thing("ball", "ball", "red", (0.05, 0.05, 0.05), place)
    scene = draw_scene(np.random.default_rng(seed), EMPTY, ball)
    scene = replace(scene, light=replace(scene.light, **light))
    simulation = Simulation(scene.xml)
    simulation.place(Command(np.array([0.35, 0.0, 0.5]), hand_rotation(0.0), 0.0))
    return scene, simulation, Renderer(simulation.model, simulation.data, scene, size)(simulation.data)


# -- rotations -----------------------------------------------------------------------------------------------


def test_rotations_come_back():
    random = np.random.default_rng(0)
    for _ in range(20):
        euler = random.uniform((-3, -1.5, -3), (3, 1.5, 3))
        rotation = euler_to_matrix(euler)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(matrix_to_euler(rotation), euler, atol=1e-9)
        np.testing.assert_allclose(rotvec_to_matrix(matrix_to_rotvec(rotation)), rotation, atol=1e-9)


def test_euler_angles_are_extrinsic_xyz():
    quarter = np.pi / 2  # first about the fixed x axis: y -> z; then about the fixed z axis: z stays
    np.testing.assert_allclose(
        euler_to_matrix(np.array([quarter, 0, quarter])) @ [0, 1, 0], [0, 0, 1], atol=1e-12
    )


# -- clips ---------------------------------------------------------------------------------------------------


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        write_mp4(tmp_path / f"{name}.mp4", film_pair(seed, 0, SHORT)[0].frames, 30)
    first, again, other = ((tmp_path / f"{name}.mp4").read_bytes() for name in "abc")
    assert first == again
    assert first != other


@pytest.mark.parametrize("pair", range(4))
def test_pair_is_one_film_read_both_ways(pair):
    forwards, backwards = film_pair(pair, pair, SHORT)
    assert {forwards.label, backwards.label} == {2 * pair, 2 * pair + 1}
    np.testing.assert_array_equal(forwards.frames, backwards.frames[::-1])
    middle = len(forwards.frames) // 2
    np.testing.assert_array_equal(forwards.frames[middle], backwards.frames[middle])
    assert (forwards.frames[0] != forwards.frames[-1]).any()


def test_both_directions_are_simulated():
    labels = {
        film_pair(seed, 0, MotionClipConfig(size=16, seconds=0.1, fps=30))[0].label for seed in range(12)
    }
    assert labels == {0, 1}


def test_middle_pose_does_not_know_the_class():
    for seed in range(5):
        passages = [draw_passage(np.random.default_rng(seed), name, False, SHORT) for name in CLASSES]
        middles = [passage(passage.seconds / 2) for passage in passages]
        for middle in middles:
            np.testing.assert_allclose(middle.position, middles[0].position, atol=1e-12)
            np.testing.assert_allclose(middle.rotation, middles[0].rotation, atol=1e-12)
            assert middle.closedness == middles[0].closedness


@pytest.mark.parametrize(
    ("name", "axis", "sign"), [("move_right", 0, 1), ("move_left", 0, -1), ("lift", 1, -1), ("lower", 1, 1)]
)
def test_classes_mean_what_they_say_in_the_image(name, axis, sign):
    for seed in range(5):
        random = np.random.default_rng(seed)
        scene, passage = draw_scene(random, EMPTY), draw_passage(random, name, False, MotionClipConfig())
        first, last = (project(scene, passage(time).position, 64) for time in (0.0, passage.seconds))
        assert sign * (last[axis] - first[axis]) > 6  # pixels of 64


# -- records -------------------------------------------------------------------------------------------------


def test_splits_are_disjoint_and_balanced(tmp_path):
    config = RecordConfig(out=tmp_path)
    counts = pairs_per_split(config)
    assert sum(counts.values()) * 2 == config.clips == 1600
    assert all(count > 0 and count % 4 == 0 for count in counts.values())
    seeds = [clip_seed(s, split, index) for s in (0, 1) for split, n in counts.items() for index in range(n)]
    assert len(set(seeds)) == len(seeds)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> RecordConfig:
    tiny = {"size": 16, "seconds": 0.1, "fps": 30, "workers": 1}
    config = RecordConfig(out=tmp_path_factory.mktemp("demo"), clips=24, val=0.34, test=0.34, **tiny)
    record(config)
    return config


def test_manifests_list_balanced_clips(recorded):
    seen = set()
    for split in ("train", "val", "test"):
        with open(recorded.out / f"{split}.csv") as file:
            rows = list(csv.DictReader(file))
        assert Counter(int(row["label"]) for row in rows) == Counter(range(8))
        assert all(CLASSES[int(row["label"])] == row["label_name"] for row in rows)
        assert all((recorded.out / row["path"]).stat().st_size > 500 for row in rows)
        seeds = {row["seed"] for row in rows}
        assert len(seeds) == 4 and not seeds & seen  # partners share a seed and a split
        seen |= seeds


def test_interrupted_run_continues_to_the_same_bytes(recorded, tmp_path):
    files = {
        path.relative_to(recorded.out): path.read_bytes()
        for path in recorded.out.rglob("*")
        if path.is_file()
    }
    again = replace(recorded, out=tmp_path / "again")
    record(again)
    kept = again.out / "train" / "000001_move_away.mp4"
    written = kept.stat().st_mtime_ns
    row = again.out / "rows" / "val" / "000002.json"
    videos = [again.out / entry["path"] for entry in json.loads(row.read_text())]
    for path in (row, videos[0], again.out / "done.json", again.out / "val.csv"):
        path.unlink()
    videos[1].write_bytes(b"half a file")
    record(again)
    assert written == kept.stat().st_mtime_ns  # what was complete is not made again
    assert files == {p.relative_to(again.out): p.read_bytes() for p in again.out.rglob("*") if p.is_file()}


def test_finished_folder_is_left_alone(recorded, capsys):
    times = {path: path.stat().st_mtime_ns for path in recorded.out.rglob("*.mp4")}
    record(replace(recorded, workers=2))
    assert "nothing to do" in capsys.readouterr().out
    assert times == {path: path.stat().st_mtime_ns for path in recorded.out.rglob("*.mp4")}


@pytest.mark.slow
def test_processes_do_not_change_the_bytes(recorded, tmp_path):
    record(replace(recorded, out=tmp_path, workers=2))
    for path in recorded.out.rglob("*.mp4"):
        assert path.read_bytes() == (tmp_path / path.relative_to(recorded.out)).read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": 0.02},
        {"shift": (0.1, 0.5)},
        {"turn": (2.0, 1.0)},
        {"workers": 0},
        {"held": 1.5},
        {"wobble": -1.0},
    ],
)
def test_impossible_settings_are_refused(change, tmp_path):
    with pytest.raises(ValueError, match=f"{next(iter(change))}[= ]"):
        RecordConfig(**{"out": tmp_path, **change})


def test_other_configuration_in_the_same_folder_is_refused(recorded):
    with pytest.raises(ValueError, match=r"size=16 \(now 32\): choose another folder"):
        record(replace(recorded, size=32))


def test_command_line_refuses_in_one_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["data", "record-clips", "--out", str(tmp_path / "x"), "--clips", "3"])
    assert "multiple of 8" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_help_explains_every_option(capsys):
    main(["data", "record-clips", "--help"])
    text = capsys.readouterr().out
    for name in asdict(RecordConfig(out=Path())):
        assert len(text.split(f"  --{name} ")[1].split("  --")[0].split()) > 4, name


def test_the_gallery_has_a_row_for_each_class_with_its_name():
    table = class_table(0, SHORT, columns=3)
    names = table.shape[1] - 3 * 32 - 2 * GAP
    assert names > 0 and table.shape[0] > 8 * 32
    for row in range(8):
        bottom = len(table) - (7 - row) * (32 + GAP)
        left, frames = np.split(table[bottom - 32 : bottom], [names], axis=1)
        assert (left < 100).any() and (left > 200).any()
        # Partners are one film in two directions.
        partner = table[bottom - 32 + (36 if row % 2 == 0 else -36) :][:32, names:]
        np.testing.assert_array_equal(frames[:, :32], partner[:, -32:])


# -- images --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_image_agrees_with_the_camera(seed):
    place = (0.45, 0.1, 0.2)
    scene, simulation, image = world_with(place, seed)
    rows, columns = np.nonzero(image.geom == simulation.model.geom("ball").id)
    column, row, depth = project(scene, place, 128)
    assert abs(columns.mean() + 0.5 - column) < 0.7 and abs(rows.mean() + 0.5 - row) < 0.7
    near_side = depth - 0.05  # one radius closer
    assert abs(image.depth[int(row), int(column)] - near_side) < 0.003
    pose = scene.camera.extrinsics
    np.testing.assert_allclose(euler_to_matrix(pose[3:]), scene.camera.rotation, atol=1e-9)
    np.testing.assert_allclose(pose[:3], scene.camera.position)


def test_right_in_the_world_is_right_in_the_image():
    for seed in range(4):
        left, right = (world_with((0.5, y, 0.2), seed, size=64) for y in (-0.1, 0.1))
        columns = [np.nonzero(p.geom == s.model.geom("ball").id)[1].mean() for _, s, p in (left, right)]
        assert columns[1] - columns[0] > 5


@pytest.mark.parametrize("seed", range(1, 5))  # seed 0 looks along the light: the ball covers its own shadow
def test_shadows_fall_away_from_the_lamp(seed):
    place = np.array([0.55, 0.0, 0.12])
    scene, simulation, image = world_with(tuple(place), seed)
    _, _, flat = world_with(tuple(place), seed, shadows=False)
    assert (image.rgb <= flat.rgb).all()
    lamp = np.array(scene.light.position)
    # Where the ray through the ball meets the table.
    shadow = lamp + (place - lamp) * lamp[2] / (lamp[2] - place[2])
    column, row, _ = project(scene, shadow, 128)
    assert image.geom[int(row), int(column)] == simulation.model.geom("table").id
    dark, bright = (p.rgb[int(row), int(column)].sum(dtype=int) for p in (image, flat))
    assert dark < 0.85 * bright


@pytest.mark.parametrize("seed", range(3))
def test_short_cuts_do_not_show(seed):
    """The renderer draws the backdrop once and culls rays; following every ray to every geom must agree."""
    world = DemoWorld(WorldConfig(size=64, scene=FULL))
    world.reset(seed=seed)
    for _ in range(3):
        world.step(np.array([0.05, 0.03, -0.04, 0, 0, 0.2, 0.3]))
    renderer, data = world.renderer, world.simulation.data
    hits = renderer.cast(data, renderer.rays, np.ones(6, np.uint8))
    np.testing.assert_array_equal(world.image.geom.reshape(-1), hits.geom)
    plain = 255 * renderer.shade(data, hits).clip(0, 1).reshape(64, 64, 3)
    inside = ~outline(world.image.geom)  # outlines are averaged over four rays
    differs = np.abs(plain - world.image.rgb).max(-1) > 20
    assert differs[inside].mean() < 0.02  # borders of shadows that do not move are averaged too


def test_texture_travels_with_the_object():
    """Points of a ball keep their texture when it moves and turns."""
    scene, simulation, _ = world_with((0.5, 0.0, 0.2), size=16)
    data = simulation.data
    ball = simulation.model.geom("ball").id
    points = np.random.default_rng(0).normal(size=(50, 3)) * 0.03
    scene.materials["ball"] = scene.materials["ball"]._replace(pattern="checker")
    renderer = Renderer(simulation.model, data, scene, 16)
    colours = []
    for place, turn in (((0.5, 0.0, 0.2), 0.0), ((0.45, 0.1, 0.26), 1.3)):
        rotation = rotvec_to_matrix(np.array([0.3, 0.5, 1.0]) * turn)
        data.geom_xpos[ball], data.geom_xmat[ball] = place, rotation.reshape(-1)
        hits = Hits(
            np.full(50, ball), np.ones(50), points @ rotation.T + place, np.tile((0.0, 0.0, 1.0), (50, 1))
        )
        colours.append(renderer.paint(data, hits)[0])
    assert np.ptp(colours[0], axis=0).max() > 0.02
    np.testing.assert_allclose(*colours, atol=1e-4)


# -- environment ---------------------------------------------------------------------------------------------


def test_same_seed_same_episode():
    first, again, other = (
        play_script(seed, WorldConfig(size=32, fps=5, scene=FULL), plans=1) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.states, again.states)
    assert first.events == again.events != other.events
    assert len(first.states) == len(first.actions) + 1


def test_realised_deltas_are_the_commanded_ones():
    world = DemoWorld(WorldConfig(size=16, scene=EMPTY))
    misses, angles = [], []
    for seed in range(3):
        before, random = world.reset(seed=seed)[0]["state"], np.random.default_rng(seed)
        for _ in range(20):
            start = world.command
            homing = 0.1 * (np.array([0.5, 0.0, 0.3]) - start.position)  # keeps the walk in free space
            action = np.array(
                [*(random.uniform(-0.05, 0.05, 3) + homing), *random.uniform(-0.1, 0.1, 3), 0.0]
            )
            after = world.step(action)[0]["state"]
            misses.append(np.linalg.norm(after[:3] - before[:3] - action[:3]))
            turned = euler_to_matrix(after[3:6]) @ euler_to_matrix(before[3:6]).T
            angles.append(np.linalg.norm(matrix_to_rotvec(turned @ euler_to_matrix(action[3:6]).T)))
            before = after
    assert np.mean(misses) < 0.003
    assert np.mean(angles) < np.radians(0.3)


def test_gripper_closes_and_opens():
    world = DemoWorld(WorldConfig(size=16, scene=EMPTY))
    assert abs(world.reset(seed=0)[0]["state"][6]) < 0.02
    assert abs(world.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))[0]["state"][6] - 1) < 0.05
    assert abs(world.step(np.array([0, 0, 0, 0, 0, 0, -0.5]))[0]["state"][6] - 0.5) < 0.05


def test_video_rate_is_independent_of_control_rate():
    for fps in (4, 7, 30):
        world = DemoWorld(WorldConfig(size=16, fps=fps, scene=EMPTY))
        world.reset(seed=0)
        frames = [world.step(np.zeros(7))[-1]["frames"] for _ in range(4)]
        assert sum(map(len, frames)) == fps  # four actions are one second
    assert frames[0].shape[1:] == (16, 16, 3)


@pytest.mark.parametrize(
    ("action", "complaint"),
    [
        (np.zeros(6), r"shape \(6,\): expected \(7,\)"),
        (np.zeros((1, 7)), "shape"),
        ([0, 0, np.nan, 0, 0, 0, 0], "not finite"),
    ],
)
def test_wrong_actions_are_refused(action, complaint):
    world = DemoWorld(WorldConfig(size=16, scene=EMPTY))
    world.reset(seed=0)
    with pytest.raises(ValueError, match=complaint):
        world.step(action)


def test_episodes_end_and_must_begin():
    world = DemoWorld(WorldConfig(size=16, steps=2, scene=EMPTY))
    with pytest.raises(RuntimeError, match="reset"):
        world.step(np.zeros(7))
    world.reset(seed=0)
    assert [world.step(np.zeros(7))[3] for _ in range(2)] == [False, True]


# -- skills --------------------------------------------------------------------------------------------------


def perform(skill, seed):
    """A skill on the first object: (its events, how far it moved, director, object)."""
    world = DemoWorld(WorldConfig(size=64, scene=FULL))
    world.reset(seed=seed)
    director, thing = Director(world), world.scene.things[0]
    before = world.position(thing)
    director.run(skill, thing.name)
    events = [event["event"] for event in director.events if event["object"] == thing.label]
    assert events[0] == "start" and events[-1] == "end"
    return events, world.position(thing) - before, director, thing


@pytest.mark.parametrize("seed", (0, 1))
def test_lift_and_drop_are_logged(seed):
    events, _, director, thing = perform(skills.drop, seed)
    assert [event for event in events if event in ("grasped", "lifted", "dropped")] == [
        "grasped",
        "lifted",
        "dropped",
    ]
    times = [event["time"] for event in director.events]
    assert times == sorted(times)
    assert director.events[0]["object"] == {"name": thing.name, "shape": thing.shape, "colour": thing.colour}
    assert director.events[0]["skill"] == "drop"


def test_held_objects_do_not_creep_out_of_the_hand():
    world = DemoWorld(WorldConfig(size=16, scene=FULL))
    world.reset(seed=4)
    thing = world.scene.things[0]
    director = Director(world)
    for skill in (skills.reach, skills.close_hand):
        director.run(skill, thing.name)
    before = world.simulation.in_hand(thing.name)
    director.run(skills.lift, thing.name)
    for action in ([0, 0.06, 0, 0, 0, 0, 0], [0, -0.06, 0, 0, 0, 0, 0], [0.06, 0, 0, 0, 0, 0, 0]) * 2:
        world.step(np.array(action))
    assert np.linalg.norm(world.simulation.in_hand(thing.name) - before) < 0.008


def test_lowered_object_is_not_dropped():
    world = DemoWorld(WorldConfig(size=64, scene=FULL))
    world.reset(seed=0)
    director = Director(world)
    for skill in (skills.lift, skills.lower, skills.open_hand):
        director.run(skill, "object0")
    events = [event["event"] for event in director.events if event["object"]["name"] == "object0"]
    assert "released" in events and "dropped" not in events


@pytest.mark.parametrize("seed", (0, 1))
def test_object_enters_the_tray(seed):
    events, _, director, thing = perform(skills.put_in_tray, seed)
    assert "entered tray" in events and "dropped" not in events
    assert director.situations[thing.name].in_tray


@pytest.mark.parametrize("seed", (0, 1))
def test_object_hides_behind_the_occluder(seed):
    events, _, director, thing = perform(skills.hide, seed)
    assert "hidden" in events
    assert director.situations[thing.name].hidden
    assert director.world.mask(thing).sum() < 0.1 * director.situations[thing.name].most_pixels


@pytest.mark.parametrize(("skill", "side"), [(skills.push_left, -1), (skills.push_right, 1)])
def test_pushes_go_the_way_they_say(skill, side):
    _, moved, _, _ = perform(skill, 0)
    assert side * moved[1] > 0.08


def test_turn_turns():
    world = DemoWorld(WorldConfig(size=16, scene=FULL))
    world.reset(seed=4)
    thing = next(thing for thing in world.scene.things if thing.shape in ("cube", "box"))
    before = world.simulation.data.body(thing.name).xmat.reshape(3, 3).copy()
    Director(world).run(skills.turn, thing.name)
    after = world.simulation.data.body(thing.name).xmat.reshape(3, 3)
    turned = np.linalg.norm(matrix_to_rotvec(after @ before.T))
    assert abs(turned - 1.0) < 0.4  # radians; the grasp may straighten it first


def test_missing_furniture_is_refused():
    world = DemoWorld(WorldConfig(size=16, scene=SceneConfig(tray=0.0, occluder=0.0)))
    world.reset(seed=0)
    for skill, word in ((skills.put_in_tray, "tray"), (skills.hide, "occluder")):
        with pytest.raises(ValueError, match=word):
            Director(world).run(skill, "object0")
    with pytest.raises(ValueError, match="no object 'ghost'"):
        Director(world).run(skills.lift, "ghost")


def test_episodes_are_recorded(tmp_path):
    config = RecordConfig(out=tmp_path, clips=0, episodes=1, size=16, fps=4, workers=1)
    record(config)
    (line,) = (tmp_path / "episodes" / "events.jsonl").read_text().splitlines()
    episode = json.loads(line)
    numbers = np.load(tmp_path / "episodes" / Path(episode["path"]).with_suffix(".npz"))
    assert (tmp_path / "episodes" / episode["path"]).exists()
    assert len(numbers["states"]) == len(numbers["actions"]) + 1
    assert {"time", "skill", "object", "event"} == set(episode["events"][0])
