"""Masks as other tools write them: both ways, from runs of pixels, and the only place where that is known.

    coco_rle    COCO's run-length encoding, compressed or not
    polygons    outlines, of which COCO, YOLO, Label Studio and labelme write lists
    brush       Label Studio's brush
    cvat        CVAT's runs within a box

What comes in is checked before any library sees it: a decoder raises AnnotationError, whatever it is given.
"""
