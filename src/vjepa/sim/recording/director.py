"""Runs scripted skills in a world and logs what happened to which object, and when."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from vjepa.sim.world.env import DemoWorld
from vjepa.sim.world.model_xml import TRAY_SIZE
from vjepa.sim.world.skills import Actions, held_things
from vjepa.sim.world.things import Thing

LIFTED = 0.03
"""Metres above its first place from which on a held object counts as lifted."""
DROP = 0.02
"""Metres that an object falls within the action that lets it go, from which on it counts as dropped."""
FALL_SPEED = 0.3
"""Metres per second downwards from which on an object that is let go counts as dropped."""
HIDDEN = 0.1
"""Share of its most visible pixels below which an object is hidden."""
VISIBLE = 0.3
"""Share of its most visible pixels from which on a hidden object is visible again."""


@dataclass
class Situation:
    """What the log knows about one object at one moment."""

    height: float
    """Of its centre, metres."""
    most_pixels: int
    """Most pixels that showed it so far."""
    held: bool = False
    lifted: bool = False
    in_tray: bool = False
    hidden: bool = False


class Director:
    """Runs skills in a world; `events` is the log, a list of {"time", "skill", "object", "event"}.

    `time` is in seconds since the reset, `object` has name, shape and colour. Skills give `start` and `end`.
    The simulator adds `grasped`, `lifted`, `dropped` (fell more than 2 cm), `released`, `entered tray`, `left
    tray`, `hidden` and `visible` (counted in pixels of the segmentation).
    """

    def __init__(self, world: DemoWorld, on_step: Callable[[ndarray, tuple], None] | None = None):
        self.world = world
        self.on_step = on_step
        self.events: list[dict] = []
        self.skill = "start"
        # First the heights: `look` reads them.
        self.rest_height = {thing.name: float(world.position(thing)[2]) for thing in world.scene.things}
        self.situations = {thing.name: self.look(thing) for thing in world.scene.things}

    def run(self, skill: Callable[[DemoWorld, Thing], Actions], name: str) -> None:
        """Let the skill happen to the object of that name."""
        thing = self.world.thing(name)
        self.skill = skill.__name__
        self.note(thing, "start")
        for action in skill(self.world, thing):
            result = self.world.step(action)
            if self.on_step is not None:
                self.on_step(action, result)
            # All objects, because the hand may also move those that the skill is not about.
            for watched in self.world.scene.things:
                self.watch(watched)
        self.note(thing, "end")

    def note(self, thing: Thing, event: str) -> None:
        """Append an event of this moment to the log."""
        time = round(self.world.simulation.time, 3)
        self.events.append({"time": time, "skill": self.skill, "object": thing.label, "event": event})

    def watch(self, thing: Thing) -> None:
        """Compare an object with how it was one action ago, and note what changed."""
        before = self.situations[thing.name]
        now = self.look(thing, before)
        self.situations[thing.name] = now

        if now.held and not before.held:
            self.note(thing, "grasped")
        if now.lifted and not before.lifted:
            self.note(thing, "lifted")
        if before.held and not now.held:
            self.note(thing, "dropped" if self.falls(thing, before, now) else "released")
        if now.in_tray != before.in_tray:
            self.note(thing, "entered tray" if now.in_tray else "left tray")
        if now.hidden != before.hidden:
            self.note(thing, "hidden" if now.hidden else "visible")

    def falls(self, thing: Thing, before: Situation, now: Situation) -> bool:
        """Whether an object that was just let go has fallen, or is falling."""
        # The log looks four times a second only. An object that was let go just now has not fallen far, but
        # it is already fast. cvel holds the angular velocity, then the linear one.
        speed = float(self.world.simulation.data.body(thing.name).cvel[5])
        return before.height - now.height > DROP or speed < -FALL_SPEED

    def look(self, thing: Thing, before: Situation | None = None) -> Situation:
        """How an object is now, given how it was."""
        height = float(self.world.position(thing)[2])
        held = thing.name in held_things(self.world)
        pixels = int(self.world.mask(thing).sum())
        most_pixels = max(pixels, before.most_pixels if before else 0)
        # Two thresholds, so that a single pixel that comes and goes does not make events.
        threshold = VISIBLE if before and before.hidden else HIDDEN
        # In the tray: let go, between its sides, and with the bottom below their tops.
        return Situation(
            height=height,
            most_pixels=most_pixels,
            held=held,
            lifted=held and height - self.rest_height[thing.name] > LIFTED,
            in_tray=not held and self.over_tray(thing) and height - thing.size[2] < TRAY_SIZE[2],
            hidden=pixels < threshold * most_pixels,
        )

    def over_tray(self, thing: Thing) -> bool:
        """Whether an object's centre is between the tray's sides."""
        if self.world.scene.tray is None:
            return False
        offset = np.abs(self.world.position(thing)[:2] - self.world.scene.tray)
        return bool((offset < TRAY_SIZE[:2]).all())
