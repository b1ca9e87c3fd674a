"""From a folder or a list file to Photos: files with their class and split."""
