"""Runs scripted skills in a world and keeps the log of what happened to which object when."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from vjepa.sim.world.env import DemoWorld
from vjepa.sim.world.scene import TRAY_SIZE, Thing
from vjepa.sim.world.skills import Actions, held_things


@dataclass
class Situation:
    """What the log knows about one object: its lowest and current height, and what is true of it now."""

    height: float
    most_pixels: int
    pixels: int
    held: bool = False
    lifted: bool = False
    in_tray: bool = False
    hidden: bool = False


class Director:
    """Runs skills in a world; `events` is the log, a list of {"time", "skill", "object", "event"}.

    `time` is in seconds since the reset, `object` has name, shape and colour. Skills give `start` and `end`; the simulator
    adds `grasped`, `lifted`, `dropped` (fell more than 2 cm), `released`, `entered tray`, `left tray`, `hidden` and
    `visible` (counted in pixels of the segmentation).
    """

    def __init__(self, world: DemoWorld, on_step: Callable[[ndarray, tuple], None] | None = None):
        self.world, self.on_step = world, on_step
        self.events: list[dict] = []
        self.skill = "start"
        self.rest = {thing.name: float(world.position(thing)[2]) for thing in world.scene.things}
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
            for other in self.world.scene.things:
                self.watch(other)
        self.note(thing, "end")

    def note(self, thing: Thing, event: str) -> None:
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
        for fact, begins, ends in (("in_tray", "entered tray", "left tray"), ("hidden", "hidden", "visible")):
            if getattr(now, fact) != getattr(before, fact):
                self.note(thing, begins if getattr(now, fact) else ends)

    def falls(self, thing: Thing, before: Situation, now: Situation) -> bool:
        """Whether an object that was just let go has fallen, or is falling: more than 2 cm, or downwards at 0.3 m/s."""
        speed = float(self.world.simulation.data.body(thing.name).cvel[5])
        return before.height - now.height > 0.02 or speed < -0.3

    def look(self, thing: Thing, before: Situation | None = None) -> Situation:
        """How an object is now, given how it was."""
        height, held = float(self.world.position(thing)[2]), thing.name in held_things(self.world)
        pixels = int(self.world.mask(thing).sum())
        most = max(pixels, before.most_pixels if before else 0)
        threshold = (
            0.3 if before and before.hidden else 0.1
        )  # two thresholds, so that one pixel does not make events
        return Situation(
            height=height,
            most_pixels=most,
            pixels=pixels,
            held=held,
            lifted=held and height - self.rest[thing.name] > 0.03,
            in_tray=not held and self.over_tray(thing) and height - thing.size[2] < TRAY_SIZE[2],
            hidden=pixels < threshold * most,
        )

    def over_tray(self, thing: Thing) -> bool:
        """Whether an object's centre is between the tray's sides."""
        if self.world.scene.tray is None:
            return False
        gap = np.abs(self.world.position(thing)[:2] - self.world.scene.tray)
        return bool((gap < TRAY_SIZE[:2]).all())
