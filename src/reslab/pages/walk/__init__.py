"""One photo through a network, stage by stage, as a value and as a page."""
