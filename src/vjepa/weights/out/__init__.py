"""Weights for other programs, and whether two sources hold the same ones.

convert         the command that writes weights for transformers, in Meta's layout, or in ours
hf_folder       what it writes for transformers: config.json, tensors, a video processor
model_card      the README.md beside them
last_level      an encoder with levels as one without
meta_file       what it writes in Meta's layout
layouts         which parts each layout holds, and what its files are called
diff            the command that compares two sources, whatever their layouts
open_parts      any source as parts under our names, read tensor by tensor
foreign_names   their tensors under other people's names
part_settings   the settings that decide what a part computes
stored          tensors that stay in their file until they are read, and files that are written so
places          whether an output may be written, and how it appears whole or not at all
portable        the command that writes an encoder, alone or with its probe, as ONNX or for torch.export
portable_files  such files: written, opened, and compared with ours
"""
