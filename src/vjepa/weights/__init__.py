"""Weights in and out: our exports, Meta's files, Hugging Face directories, and maps between their key names."""
