"""Choice of the fastest precision by timed training steps, cached per machine."""
