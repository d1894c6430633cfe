"""What all pictures share: palette, style of figures, captions on frames, films."""
