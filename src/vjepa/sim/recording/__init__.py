"""Recordings of the demo world, the same bytes for the same seed.

record             the command `data record-clips`: labelled clips, scripted episodes, manifests
shots              labelled motions, drawn at random before anything is simulated
motion_clips       films of them in time-reversed pairs
dense_targets      what every pixel of those films shows, simulated again
episode_masks      which pixels of robot episodes show the hand or what it moves, simulated again
scripted_episodes  skills on several objects, filmed, with the log of what happened
director           runs skills and keeps that log
robot_episodes     the command `data record-robot`: robot episodes as LeRobot folders
practice           practice of grasping: taking, missing, carrying, letting go
wander             random motion of the hand
lerobot_writer     the tables and notes of a LeRobot folder
questions          the command `data record-questions`: questions and answers about a recorded world
clip_questions     what can be asked about a clip
episode_questions  what can be asked about a scripted episode
question_sets      questions, balanced so that no answer is a better guess than another
dataset_folder     what the recorders share: folders made in several runs, processes, checks
gallery            the command `data gallery`: an image of all classes
speed              the command `bench recording`: frames per second on this machine
"""
