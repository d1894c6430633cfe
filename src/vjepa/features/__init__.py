"""Features of videos from a frozen encoder: extraction, files, neighbours, tokens as colours."""
