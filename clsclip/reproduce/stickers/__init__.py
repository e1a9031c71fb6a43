"""The sticker world: real words and things where no CLIP weights can be reached."""
