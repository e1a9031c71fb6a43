"""Words: cleaned, encoded, cached, and matched with the names of a detector."""
