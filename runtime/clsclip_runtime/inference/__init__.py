"""The way of one call through the graphs of a bundle."""
