"""What all pictures share: palette, style of figures, captions on frames, films.

Only `style` needs matplotlib, which is in the `plot` extra; the others need NumPy, Pillow and PyAV.

palette   colours that colour-blind eyes tell apart, and what each of them stands for
style     the look of matplotlib figures, and how they become files or pixels
captions  headers above frames, frames beside one another, tables of pictures with names
curve     a curve that grows with time, as frames
outputs   files that a command writes: checked before the work, complete or not there after it
folder_lock    a folder that one process writes at a time
film      frames to files: PNG images, GIF and MP4 films
event_writers  pictures and text in TensorBoard, which other loggers pass over
"""
