"""Physics at 500 Hz, and the arm's controller: damped least-squares inverse kinematics every 20 ms."""

from collections.abc import Callable
from typing import NamedTuple

import mujoco
import numpy as np
from numpy import ndarray

from vjepa.robots.euler import matrix_to_euler
from vjepa.sim.world import panda
from vjepa.sim.world.poses import matrix_to_rotvec

TIMESTEP = 0.002
"""Seconds per step of the physics."""
CONTROL_STEPS = 10
"""Physics steps per step of the controller."""
JOINTS = 7
"""The arm's joints come first in the model, then the two fingers, then the objects."""
FINGERS = slice(JOINTS, JOINTS + 2)
# FULLPHYSICS would be smaller, but it leaves out the controls and the solver's warm start. The bits of the
# next step depend on both.
STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)
"""The parts of MuJoCo's state that decide all later steps."""


class Command(NamedTuple):
    """Where the hand should be, and how far the gripper should be closed."""

    position: ndarray
    """Of the fingertips (3,), metres."""
    rotation: ndarray
    """Of the hand in the robot's frame (3, 3)."""
    closedness: float
    """0 open .. 1 closed."""


Motion = Callable[[float], Command]
"""Seconds since the start of the motion -> where the hand should be then."""


class Kinematics:
    """Inverse kinematics on its own copy of the state, so that joint targets depend on commands alone.

    Contacts move the simulated arm, but they do not change where the controller sends it.
    """

    def __init__(self, model: mujoco.MjModel, damping: float = 0.01, pull: float = 0.02):
        self.model = model
        self.data = mujoco.MjData(model)
        self.site = model.site("tcp").id
        # Damping keeps the steps finite where the arm is near a singular pose.
        self.damping = damping**2 * np.eye(6)
        self.pull = pull
        self.jacobian = np.zeros((6, model.nv))
        self.low, self.high = model.jnt_range[:JOINTS].T
        self.data.qpos[:JOINTS] = panda.HOME

    @property
    def joints(self) -> ndarray:
        """The solution so far: joint angles (7,) in radians."""
        return self.data.qpos[:JOINTS]

    def solve(self, command: Command, iterations: int = 2) -> ndarray:
        """Joint angles (7,) that bring the fingertips to the command, starting from the last solution."""
        for _ in range(iterations):
            self._step(command)
        return self.joints.copy()

    def _step(self, command: Command) -> None:
        """One step of damped least squares towards the command."""
        model = self.model
        data = self.data
        # mj_jacSite reads the poses of the bodies and the axes of the joints, which these two calls update.
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_jacSite(model, data, self.jacobian[:3], self.jacobian[3:], self.site)
        rotation = data.site_xmat[self.site].reshape(3, 3)
        shift = command.position - data.site_xpos[self.site]
        # The turn that is missing, in world axes, as the Jacobian has it.
        turn = matrix_to_rotvec(command.rotation @ rotation.T)
        error = np.concatenate([shift, turn])

        # Seven joints can reach a pose of six numbers in many ways. The pull towards home chooses one. The
        # task then compensates the motion of the hand that the pull causes.
        jacobian = self.jacobian[:, :JOINTS]
        home = self.pull * (panda.HOME - self.joints)
        task = np.linalg.solve(jacobian @ jacobian.T + self.damping, error - jacobian @ home)
        data.qpos[:JOINTS] = np.clip(self.joints + jacobian.T @ task + home, self.low, self.high)


class Simulation:
    """One world in motion: `follow` advances the physics while the arm tracks a motion."""

    def __init__(self, xml: str):
        self.model = mujoco.MjModel.from_xml_string(xml)
        self.data = mujoco.MjData(self.model)
        self.kinematics = Kinematics(self.model)
        self.site = self.model.site("tcp").id
        self.steps = 0
        # Compute the poses of all bodies, which `state` and the renderer read before the first step.
        mujoco.mj_forward(self.model, self.data)

    @property
    def time(self) -> float:
        """Seconds of physics since construction, or since `steps` was last set to zero."""
        return self.steps * TIMESTEP

    @property
    def state(self) -> ndarray:
        """What the robot measures (7,): fingertips xyz in metres, extrinsic xyz angles, closedness."""
        rotation = self.data.site_xmat[self.site].reshape(3, 3)
        # Measured, not commanded: fingers that hold an object do not close all the way.
        closedness = 1 - self.data.qpos[FINGERS].sum() / panda.OPENING
        return np.concatenate([self.data.site_xpos[self.site], matrix_to_euler(rotation), [closedness]])

    def in_hand(self, name: str) -> ndarray:
        """Centre of a body in the hand's frame (3,), metres: the fingers move along y, the palm faces z."""
        rotation = self.data.site_xmat[self.site].reshape(3, 3)
        return rotation.T @ (self.data.body(name).xpos - self.data.site_xpos[self.site])

    def place(self, command: Command) -> None:
        """Put the arm at a command, at rest, without simulating the way there."""
        # The controller needs 2 iterations for a way of 20 ms. Here the last solution may be far away.
        joints = self.kinematics.solve(command, iterations=60)
        self.data.qpos[:JOINTS] = self.data.ctrl[:JOINTS] = joints
        self.data.qpos[FINGERS] = self.data.ctrl[JOINTS:] = finger_position(command.closedness)
        # At rest, and with the actuators at their targets, nothing moves the arm in the next step.
        self.data.qvel[:] = 0
        mujoco.mj_forward(self.model, self.data)

    def snapshot(self) -> tuple[ndarray, ndarray, int]:
        """All that decides what happens next, for `restore`: physics, last joint solution, step count."""
        state = np.empty(mujoco.mj_stateSize(self.model, STATE))
        mujoco.mj_getState(self.model, self.data, state, STATE)
        # Inverse kinematics starts at its last solution, so that solution belongs to the state.
        return state, self.kinematics.data.qpos.copy(), self.steps

    def restore(self, snapshot: tuple[ndarray, ndarray, int]) -> None:
        """Go back to the moment of a snapshot. What follows is then the same to the bit."""
        state, joints, self.steps = snapshot
        mujoco.mj_setState(self.model, self.data, state, STATE)
        self.kinematics.data.qpos[:] = joints
        # mj_setState sets the joints but not the poses of the bodies that follow from them.
        mujoco.mj_kinematics(self.model, self.data)

    def follow(
        self, motion: Motion, steps: int, fps: int = 0, on_frame: Callable[[], None] | None = None
    ) -> None:
        """Advance `steps` physics steps of 2 ms while the arm tracks the motion.

        Calls `on_frame` whenever one of `fps` frames per second is due. Frames are counted from the time at
        which `self.steps` was zero, so their rate does not depend on how the time is cut into calls.
        """
        for step in range(steps):
            if step % CONTROL_STEPS == 0:
                # The command for the end of the 20 ms that begin here.
                self._control(motion((step + CONTROL_STEPS) * TIMESTEP))
            mujoco.mj_step(self.model, self.data)
            self.steps += 1
            if on_frame is not None and frames_until(self.steps, fps) > frames_until(self.steps - 1, fps):
                on_frame()
        # After mj_step the positions of bodies lag one step behind the joint angles. Readers expect both at
        # the same time.
        mujoco.mj_kinematics(self.model, self.data)

    def _control(self, command: Command) -> None:
        """Set the actuators' targets for the next 20 ms."""
        before = self.kinematics.joints.copy()
        after = self.kinematics.solve(command)
        velocity = (after - before) / (CONTROL_STEPS * TIMESTEP)
        # The target is constant for 20 ms, so it is the middle of the way. Position actuators lag behind a
        # moving target by kv / kp seconds: the last term compensates that.
        self.data.ctrl[:JOINTS] = 0.5 * (before + after) + panda.DAMPING_OVER_STIFFNESS * velocity
        self.data.ctrl[JOINTS:] = finger_position(command.closedness)


def finger_position(closedness: float) -> float:
    """Closedness 0 open .. 1 closed -> travel of each finger in metres."""
    return 0.5 * panda.OPENING * (1 - closedness)


def frames_until(steps: int, fps: int) -> int:
    """How many frames have become due after the first one, that of time zero."""
    # Rounding may leave the product just below a whole number.
    return int(steps * TIMESTEP * fps + 1e-9)
