"""One reader for each recording format; each returns `vjepa.robots.episodes.Episodes`.

To add a format, write a reader here, and choose it in `TrajectoryData.load_source`
(`vjepa.robots.trajectory_data`).

lerobot         LeRobotDataset v3.0 folders
lerobot_info    their `meta/info.json`
lerobot_tables  their Parquet tables
"""
