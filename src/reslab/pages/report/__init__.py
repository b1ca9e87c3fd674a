"""Report of a classifier: how good it is, where it is wrong, where it looks; as a page, JSON and a card."""
