"""Which files are photos, with their class and split: from a folder or a list file to Photos."""
