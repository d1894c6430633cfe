"""How good a frozen encoder or a predictor is.

readouts        read-outs that run while an encoder trains, by name
linear          linear read-outs: ridge regressions on averaged tokens
token_ridge     ridge regressions on single tokens
dense_readouts  what single tokens say about their own place, beside pixels and places
attentive       the attentive read-out: a small probe trained on tokens in memory
labelled_clips  labelled clips in memory, which read-outs are fitted and scored on
label_free      what an encoder learned from video without labels, beside an untrained one
unlabelled_clips  unlabelled clips in memory, shuffled and slowed down
predictions     what a grid of probe heads predicts, and the choice of a head
probe_tasks     what a probe learns: its class, several labels, or numbers
probe_data      the splits of a probe, which share no clip
probe_report    the report of a probe: choice of heads, table, files
score_files     the CSV files of a probe
confusion       which classes a probe takes for which: counts and an image; names of classes
recall          mean-class recall and focal loss of anticipation
rollout_error   error of an action-conditioned predictor at every horizon, beside controls
action_use      whether such a predictor uses actions, and which of their numbers
rollout_figure  the figure of rollout errors
rollout_means   rollout errors and use of actions on all held-out windows, of which each process sees a share
rollout_report  the report of these: files, table, TensorBoard
decoded_windows  windows of episodes as a decoder shows them, seen and imagined
decoding_scores  how like true frames decoded pictures are, of seen and of imagined frames
decoding_report  the report of decoded pictures: tables, file
decoding_pictures  a sheet and a film of decoded pictures
collapse        telemetry that shows when representations collapse
report          the command `report`: tables of scores, over seeds
tables          tables as text or Markdown; mean and spread
"""
