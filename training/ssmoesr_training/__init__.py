"""Training, measuring and exporting of the native model family of ssmoesr."""
