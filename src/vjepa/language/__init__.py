"""Conversations about video, and the language model that reads the encoder's tokens."""
