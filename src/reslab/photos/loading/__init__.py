"""Load photos: preprocessing, cache, augmentation, batches."""
