"""Conversations about video, and the language model that reads the encoder's tokens.

conversations        rows: media, turns, options
conversation_files   files of rows: .json, .jsonl, .parquet
conversation_rows    from one row of a file to a conversation
row_values           single values of a row: paths, seconds, options
row_keys             which keys of a row are read, and one line about the others
check                the command `data check-conversations`
media                frames of videos and images, or their tokens from a cache
batches              samples, collation, batches of like length
caption_data         the data module of conversations
token_cache          encodes all videos once
chat                 conversations as token ids, by a tokenizer's chat template
language_model       loads, adapts and saves models and tokenizers of transformers
model_folder         looks through a folder of a language model before transformers builds it
tiny_language_model  trains a small one in a minute
model                projector and language model: loss, scores of options, answers
generation           greedy generation with transformers, also token by token
clip_tokens          clips as the encoder's tokens
video_chat           encoder, model and chat together, to be asked about a video
alignment_file       the file that a vlm stage writes
phases               what one phase of alignment takes over from the one before
measures             what a vlm stage counts and averages
sample_answers       questions and answers in TensorBoard
ask                  the command `ask`
"""

from vjepa import torchvision_ops  # noqa: F401  before anything imports torchvision
