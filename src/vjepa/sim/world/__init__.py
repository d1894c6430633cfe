"""A robot arm on a table that pip alone can install: MuJoCo physics, ray-cast images, no graphics stack.

env        the environment: `reset` and `step`, seven numbers per action, four actions a second
arm        physics and the arm's controller
panda      the arm's joints and shapes
scene      a scene as one value: what stands where, drawn at random
things     objects that fit between the fingers, drawn at random
looks      materials, light and camera, drawn at random
model_xml  the world as a MuJoCo model
render     images
rays       rays through pixels, and what they meet
skills     scripted skills as generators of actions
poses      rotation vectors, and how a movement begins and ends
"""
