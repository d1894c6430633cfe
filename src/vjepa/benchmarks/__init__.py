"""Public benchmarks and their file formats, and the speed of our own code.

video_questions        the command `evaluate`: questions about videos, with controls
controls               what a model is shown instead of the video, and marks of its answers
scoring                marks of letters, options and pairs; baselines
question_files         the questions of public benchmarks
lmms_eval              our models inside lmms-eval
actions                actions in long videos, and their classes
action_files           actions from annotations or from the demo world's log
epic_kitchens          the annotations of EPIC-KITCHENS-100
anticipation_data      the data module of action anticipation
anticipation_clips     clips that end before an action
anticipation_report    recall, choice of heads and table of anticipation
planning_speed         the command `bench planning`
probe_grid_speed       the command `bench probe-grid`
"""

from vjepa import torchvision_ops  # noqa: F401  before anything imports torchvision
