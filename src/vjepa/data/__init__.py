"""From files to batches.

manifest         which videos there are: one table, whatever the file; `manifest_files` reads the formats
manifest_text    lists and tables in text, by their `list_dialect`; `row_errors` says where a mistake is
manifest_cache   large Parquet manifests, mapped from a file that `cache_builder` writes, its columns in
                 `column_files`; `row_digest` is the digest of rows
storage          files at addresses; `stored` opens them, and members of shards, as `byte_files`; `media` is
                 what a decoder is given; `file_cache` keeps copies; `remote_lists` are manifests at addresses
shards           the command `data shards`, which packs a manifest into tar files (`shard_files`)
media_files      the endings of videos, and the videos of a folder; `media_paths`: what paths in a list mean
loose_files      a manifest of a single file, or of a folder of images only
class_map        the numbers of classes that a list names
array_files      arrays and tables (.npz, Parquet), whose size in memory is known before they are read
text_files       text in whatever encoding people have it, as UTF-8; it raises `manifest_error`
check            the command `data check`: decodes a few frames of every row, and reports what is bad
decode           frames of a video at given seconds; it uses `video_stream`, `orientation`, `decode_error`
frame_size       how many pixels a frame may have
survey           what is found out once about a video file; `container` opens it, `stream_reader` reads it,
                 `timeline` has its clock
sampling         which rows of a mixture come when, and which moments of a video
transforms       crops on uint8, normalisation on the device
clips            one clip a sample, at random for training, fixed for evaluation
views            several looks at each video, for evaluation
windows          windows that slide over whole videos; `forward_reader` decodes a video once for all of them
targets          what a probe predicts: several labels, or numbers; and that splits share nothing
digest           digests of training data, which travel with the weights
loader           the order of samples, the replacement of bad ones, and a loader that resumes exactly
workers          the processes of a loader: signals, and what is said when one fails
reading          which file each process is reading, so that one that does not answer can be named
module           the base of all data modules
means            means over samples that are shared out over devices
clip_data        the data module of clips
labelled_clip_data   the data module of labelled clips
latents          a frozen encoder's tokens, kept on disk
"""

from vjepa import torchvision_ops  # noqa: F401  before anything imports torchvision
