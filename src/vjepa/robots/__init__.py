"""Robot recordings: poses, what states and actions mean, episodes, windows of them, and their data module."""
