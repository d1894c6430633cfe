"""Features of videos from a frozen encoder.

clip_features   features of one clip or of a batch, in Python
probe_answers   what a trained probe says of a clip, by the names of its classes
layout          frames in any usual layout -> `t c h w`
config          what a folder of features holds: settings, videos, identity
extraction      the command `features`: features of all clips of a manifest, to a folder
files           the folder's files: written and read
nearest         nearest neighbours among features, and their votes (k-NN)
contact_sheet   clips beside their nearest neighbours, as an image and as a table
neighbours      the command `neighbours`: table, contact sheet and k-NN accuracy
look            the command `look`: a page of what an encoder sees in videos
look_windows    a video in windows: frames, tokens and times, step by step
look_video      one video as it is shown, and what all videos of a page share
look_predictions  what the predictor says of the hidden half of a window, and where it errs
look_page       the page in one HTML file, with its data
look_notes      what the page says of itself: the encoder's card, and what was done
look_film       the moving picture of the page as GIF and MP4
components      principal components of tokens that arrive piece by piece
foreground      which component tells foreground from background
predict         the command `predict`: a trained probe's classes for new videos
surprise        `predict --surprise`: how much the predictor errs over time
video_rows      the videos that a command's paths name
token_colours   tokens as colours, and clips side by side in one image
"""
