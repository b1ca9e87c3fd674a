"""From files to batches: decoding, folders, checks and loading."""
