"""Web pages for people: one photo through a network, and the report of a check."""
