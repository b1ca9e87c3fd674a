"""reslab takes a residual network apart, trains it on your photos, and tells you whether your idea helps."""
