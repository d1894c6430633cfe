"""What is recorded in the demo world: motion clips, scripted episodes, robot episodes, questions."""
