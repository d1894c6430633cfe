"""One reader for each recording format; each returns `vjepa.robots.episodes.Episodes`.

lerobot         LeRobotDataset v3.0 folders
lerobot_info    their `meta/info.json`
lerobot_tables  their Parquet tables
"""
