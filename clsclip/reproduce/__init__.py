"""What reproduces the paper without CLIP's weights: the sticker world, and its tables."""
