"""Weights in and out: our exports, Meta's files, Hugging Face directories, and Lightning's checkpoints.

load         networks from any of these sources; loading is strict
load_decoder the decoder of tokens into pictures, in its stage's export
export       the file that a finished stage hands over: writing it, and reading its parts
file_kind    what kind of file it is, by its first bytes
family       whose weights they are: V-JEPA 1, 2 or 2.1, a probe, or those of other models
source       any source of weights, opened: its family is known before a tensor is touched
hub_name     names of models on Hugging Face's hub, which are no paths
hub          such models, fetched into the hub's cache
released     the published models as a table, and the command that prints it
classifiers  which one is meant of the classifiers that an evaluation trained side by side
own_facts    what we say of networks, in an export or beside those in other layouts, checked as it is read
facts        what networks were trained for: clips, states and actions
action_use   whether a predictor uses actions, as its export says it, and what follows for a planner
probe_schema what a source says of its probe: layers, names of classes, clips
card         any source of weights described: parts, sizes, data, licence, scores
details      what is particular to its networks, and what else lies in the file
box          the weights in the package, whose source name is `demo`
part_files   which file of a run holds which part
info         the command that prints cards
meta         Meta's `.pt` files: which network is in them, and of which size
heads        heads and levels, which leave no trace in them: of a published size, or given
huggingface  Hugging Face directories, likewise
keymaps      the names of other people's tensors, and how they become ours
checkpoints  Lightning's `.ckpt` files, from which a stage resumes
checksums    whether the numbers in a file of torch are as they were written
files        what all of them need: an error, finding the file, strict loading, digests
pickles      files of torch, read without running code and without believing what they claim
settings     the settings that a file names, each of the right type
build        networks of the settings and the tensors in a file, which are compared before memory is taken
untrained    the command that writes an encoder with random weights
out          weights for other programs: transformers, Meta's code, onnxruntime, torch.export
"""
