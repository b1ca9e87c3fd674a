"""The lab: fair comparisons of blocks, networks and settings, with paired seeds and statistics."""
