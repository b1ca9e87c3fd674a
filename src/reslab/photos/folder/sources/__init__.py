"""Photos as people have them: archives, Parquet files, and labels in tables or in file names."""
