"""Episodes that a policy plays in the demo world: tasks, policies, results, films."""
