"""A backend of Label Studio: what it sends, what its pictures are, and predictions as it stores them."""
