"""ClsCLIP over HTTP: the masks of the command line, for programs and annotation tools. Extra ``serve``."""
