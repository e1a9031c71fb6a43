"""Tables of masks: a folder or bucket of images in, Parquet shards out, in processes or on Ray. Extra ``scale``."""
