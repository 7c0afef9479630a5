"""Measures the ssmoesr command on the evaluation pictures; `--help` says how."""
from ssmoesr_training.evaluate import main

main()
