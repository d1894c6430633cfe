"""A Franka Panda of capsules, cylinders and boxes: joint frames, limits and masses as published, shapes our
own.

Only the hand and the fingers collide; the other links are only visible. All links are gravity
compensated, as on the real robot's controller. Each finger has its own actuator, and an equality constraint
couples the two.
"""

import numpy as np

# The hand is mounted at -45 degrees on the flange (`quat` of the body "hand"). The last angle turns it
# straight again.
HOME = np.array([0, -0.2, 0, -2.2, 0, 2.0, np.pi / 4])
"""Joint angles (7,) in radians: where inverse kinematics starts, and towards which its null space pulls."""
OPENING = 0.08
"""Metres between the fingers when the gripper is fully open."""
# The same for all seven joints in ACTUATORS below, so that one number compensates the lag of the whole arm.
DAMPING_OVER_STIFFNESS = 0.04
"""Seconds by which a position actuator lags behind a moving target: its kv / kp."""

# Geoms do not collide unless they say so. condim 4 gives the fingers friction against turning too, so that a
# held object does not spin between them.
DEFAULTS = """
<default class="panda">
  <geom contype="0" conaffinity="0" group="1" mass="0"/>
  <joint damping="1" armature="0.2"/>
  <default class="finger">
    <geom contype="1" conaffinity="1" condim="4" friction="1.5 0.02 0.001" solimp="0.95 0.99 0.001"/>
    <joint type="slide" axis="0 1 0" range="0 0.04" armature="0.05" damping="2"/>
  </default>
</default>
"""

# The base and the column never move. So they are in geom group 0, `model_xml.STATIC`, which is rendered once.
BODIES = """
<body name="link0" childclass="panda">
  <geom name="base" group="0" type="cylinder" fromto="0 0 0 0 0 0.05" size="0.1" mass="0.63"/>
  <geom name="column" group="0" type="cylinder" fromto="0 0 0 0 0 0.2" size="0.07"/>
  <body name="link1" pos="0 0 0.333" gravcomp="1">
    <joint name="joint1" range="-2.8973 2.8973"/>
    <geom name="shell1" type="capsule" fromto="0 0 -0.13 0 0 -0.02" size="0.068" mass="4.97"/>
    <geom name="motor1" type="cylinder" fromto="0 -0.082 0 0 0.082 0" size="0.064"/>
    <body name="link2" quat="1 -1 0 0" gravcomp="1">
      <joint name="joint2" range="-1.7628 1.7628"/>
      <geom name="shell2" type="capsule" fromto="0 -0.02 0 0 -0.2 0" size="0.06" mass="0.647"/>
      <body name="link3" pos="0 -0.316 0" quat="1 1 0 0" gravcomp="1">
        <joint name="joint3" range="-2.8973 2.8973"/>
        <geom name="shell3" type="capsule" fromto="0 0 -0.06 0.0825 0 0" size="0.055" mass="3.229"/>
        <geom name="motor3" type="cylinder" fromto="0.0825 -0.075 0 0.0825 0.075 0" size="0.055"/>
        <body name="link4" pos="0.0825 0 0" quat="1 1 0 0" gravcomp="1">
          <joint name="joint4" range="-3.0718 -0.0698"/>
          <geom name="shell4" type="capsule" fromto="0 0.01 0 -0.0825 0.11 0" size="0.053" mass="3.588"/>
          <body name="link5" pos="-0.0825 0.384 0" quat="1 -1 0 0" gravcomp="1">
            <joint name="joint5" range="-2.8973 2.8973"/>
            <geom name="shell5" type="capsule" fromto="0 0 -0.27 0 0.03 -0.05" size="0.05" mass="1.226"/>
            <geom name="motor5" type="cylinder" fromto="0 -0.065 0 0 0.075 0" size="0.05"/>
            <body name="link6" quat="1 1 0 0" gravcomp="1">
              <joint name="joint6" range="-0.0175 3.7525"/>
              <geom name="shell6" type="capsule" fromto="0 0 0 0.088 0 0" size="0.046" mass="1.667"/>
              <body name="link7" pos="0.088 0 0" quat="1 1 0 0" gravcomp="1">
                <joint name="joint7" range="-2.8973 2.8973"/>
                <geom name="flange" type="cylinder" fromto="0 0 0 0 0 0.107" size="0.038" mass="0.736"/>
                <body name="hand" pos="0 0 0.107" quat="0.9238795 0 0 -0.3826834" gravcomp="1">
                  <geom name="hand" type="box" size="0.03 0.1 0.032" pos="0 0 0.028" mass="0.73"
                        contype="1" conaffinity="1"/>
                  <geom name="mount" type="box" size="0.022 0.022 0.025" pos="0 0.076 -0.026"/>
                  <site name="tcp" pos="0 0 0.1034"/>
                  <body name="left_finger" pos="0 0 0.0584" gravcomp="1" childclass="finger">
                    <joint name="finger1"/>
                    <geom name="left_finger" type="box" size="0.012 0.008 0.027" pos="0 0.008 0.027"
                          mass="0.015"/>
                  </body>
                  <body name="right_finger" pos="0 0 0.0584" quat="0 0 0 1" gravcomp="1" childclass="finger">
                    <joint name="finger2"/>
                    <geom name="right_finger" type="box" size="0.012 0.008 0.027" pos="0 0.008 0.027"
                          mass="0.015"/>
                  </body>
                </body>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>
  </body>
</body>
"""

# Closed fingers meet face to face, which must not count as a contact.
TIES = """
<equality><joint joint1="finger1" joint2="finger2"/></equality>
<contact><exclude body1="left_finger" body2="right_finger"/></contact>
"""

# Torques are limited as on the real robot: 87 Nm for the first four joints, 12 Nm for the others.
ACTUATORS = """
<actuator>
  <position joint="joint1" kp="4500" kv="180" forcerange="-87 87"/>
  <position joint="joint2" kp="4500" kv="180" forcerange="-87 87"/>
  <position joint="joint3" kp="3500" kv="140" forcerange="-87 87"/>
  <position joint="joint4" kp="3500" kv="140" forcerange="-87 87"/>
  <position joint="joint5" kp="2000" kv="80" forcerange="-12 12"/>
  <position joint="joint6" kp="2000" kv="80" forcerange="-12 12"/>
  <position joint="joint7" kp="2000" kv="80" forcerange="-12 12"/>
  <position joint="finger1" kp="500" kv="8" forcerange="-25 25"/>
  <position joint="finger2" kp="500" kv="8" forcerange="-25 25"/>
</actuator>
"""

# Names by material: see `looks.draw_materials`.
BODY_GEOMS = ("base", "column", "shell1", "shell2", "shell3", "shell4", "shell5", "shell6")
JOINT_GEOMS = ("motor1", "motor3", "motor5", "flange")
FINGER_GEOMS = ("left_finger", "right_finger")
