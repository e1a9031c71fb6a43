"""What a run on many workers costs, and what breaks first."""
