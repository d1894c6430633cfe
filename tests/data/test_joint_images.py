"""Single images beside clips: which ones join a sample follows from its number alone."""

import numpy as np
import pytest
import torch
from PIL import Image

from vjepa.data.clip_data import ClipData, ImageSources, Source
from vjepa.data.clips import ClipConfig, collate_clips
from vjepa.errors import UserError

CLIP = ClipConfig(frames=4, fps=8.0, size=32)


@pytest.fixture
def pictures(tmp_path):
    """Six image files of one grey each, and one that is none."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(6):
        grey = np.full((40, 48, 3), 40 * number, np.uint8)
        Image.fromarray(grey).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return folder


def data(clips, images, per_clip: int = 3, size: int = 16) -> ClipData:
    joined = ImageSources((Source(str(images)),), size=size, per_clip=per_clip)
    return ClipData([Source(str(clips))], clip=CLIP, batch_size=4, workers=0, images=joined)


def test_a_batch_holds_so_many_images_for_each_clip(clips_manifest, pictures):
    samples = data(clips_manifest, pictures).training_samples()
    batch = collate_clips([samples[k] for k in range(4)])
    assert batch.clip.shape == (4, 4, 3, 32, 32) and batch.images.shape == (12, 1, 3, 16, 16)
    shades = {int(image.float().mean().round()) for image in batch.images}
    assert len(shades) > 2 and all(shade % 40 == 0 for shade in shades)
    assert any("broken.png" in reason for k in range(40) for reason in samples[k].bad)


def test_the_images_of_a_sample_do_not_depend_on_the_batch(clips_manifest, pictures):
    one = data(clips_manifest, pictures).training_samples()
    again = data(clips_manifest, pictures).training_samples()
    for k in (7, 3):
        for image, same in zip(one[k].images, again[k].images, strict=True):
            assert torch.equal(image, same)
    assert not torch.equal(torch.stack(one[3].images), torch.stack(one[7].images))


def test_no_draw_of_an_image_belongs_to_two_samples(clips_manifest, pictures):
    samples = data(clips_manifest, pictures).training_samples()
    for k in (0, 1, 5):
        for i, image in enumerate(samples[k].images):
            assert torch.equal(image, samples.images[3 * k + i].clip)


def test_clips_are_those_of_a_recipe_without_images(clips_manifest, pictures):
    with_images = data(clips_manifest, pictures).training_samples()
    alone = ClipData([Source(str(clips_manifest))], clip=CLIP, batch_size=4, workers=0).training_samples()
    assert all(torch.equal(with_images[k].clip, alone[k].clip) for k in range(6))


def test_frames_of_videos_are_images_too(clips_manifest):
    samples = data(clips_manifest, clips_manifest).training_samples()
    images = [image for k in range(4) for image in samples[k].images]
    assert {image.shape for image in images} == {(1, 3, 16, 16)}


def test_images_belong_to_the_data_of_a_run(clips_manifest, pictures):
    before = data(clips_manifest, pictures).data_digests()
    assert set(before) == {"train.0", "images.train.0"}
    (pictures / "0.png").unlink()
    after = data(clips_manifest, pictures).data_digests()
    assert before["train.0"] == after["train.0"] and before["images.train.0"] != after["images.train.0"]


@pytest.mark.parametrize("changes", [{"size": 0}, {"per_clip": 0}])
def test_impossible_images_are_refused(clips_manifest, pictures, changes):
    with pytest.raises(UserError, match=r"data\.images: .* must both be positive"):
        data(clips_manifest, pictures, **changes)
    with pytest.raises(UserError, match=r"is empty"):
        ImageSources(())
