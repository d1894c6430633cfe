"""Features of videos from a frozen encoder.

clip_features   features of one clip or of a batch, in Python
config          what a folder of features holds: settings, videos, identity
extraction      the command `features`: features of all clips of a manifest, to a folder
files           the folder's files: written and read
nearest         nearest neighbours among features, and their votes (k-NN)
contact_sheet   an image of clips beside their nearest neighbours
neighbours      the command `neighbours`: contact sheet and k-NN accuracy
token_colours   tokens as colours, and clips side by side in one image
"""
