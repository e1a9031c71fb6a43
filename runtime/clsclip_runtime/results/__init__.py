"""What a call returns, and every form of it."""
