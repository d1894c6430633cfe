"""What recipes say in their headers can be done."""

import re
import subprocess

from tests.test_conf import CONF, settings


def test_epic_kitchens_held_out_videos_are_no_training_videos(tmp_path):
    """The header's command, with its line break, on annotations of thirty videos."""
    header = (CONF / "task/ek100/anticipate.yaml").read_text().partition("model:")[0]
    command = re.search(r"awk .*?EPIC_100_train\.csv", header.replace("\n#", "\n"), re.DOTALL)[0]
    rows = [f'id{i},P01,P01_{i // 2:02},"a, b"' for i in range(60)]
    (tmp_path / "EPIC_100_train.csv").write_text(
        "\n".join(["narration_id,participant_id,video_id,narration", *rows]) + "\n"
    )
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    config, _ = settings(CONF / "task/ek100/anticipate.yaml")
    names = [config.data[split].rpartition("/")[2] for split in ("train", "val")]
    kept, held = ((tmp_path / name).read_text().splitlines() for name in names)
    assert kept[0] == held[0] and sorted(kept[1:] + held[1:]) == sorted(rows) and len(held) == 7
    assert not {row.split(",")[2] for row in kept[1:]} & {row.split(",")[2] for row in held[1:]}


def test_anticipation_holds_the_first_frame_where_a_clip_begins_before_its_video():
    for recipe in (CONF / "anticipate.yaml", CONF / "task/ek100/anticipate.yaml"):
        assert settings(recipe)[0].data.clip.short == "hold", recipe
