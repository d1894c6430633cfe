"""A robot arm on a table that pip alone can run: MuJoCo physics, ray-cast images, no graphics stack."""
