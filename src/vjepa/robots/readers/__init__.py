"""One reader for each recording format; each returns `vjepa.robots.episodes.Episodes`.

To add a format, write a reader here, and choose it in `TrajectoryData.load_source`
(`vjepa.robots.trajectory_data`).

lerobot           LeRobotDataset v3.0 folders
lerobot_info      their `meta/info.json`
lerobot_episodes  their table of episodes
lerobot_videos    where the images of episodes are
lerobot_rows      their states, actions and times
parquet_numbers   numbers from Parquet files, whatever their types
"""
