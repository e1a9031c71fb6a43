"""A video with steady masks and objects that keep their number: python examples/02_video.py CLIP OUT CLASS..."""

import sys
from pathlib import Path

from clsclip import Segmenter
from clsclip_runtime.video import AnnotatedVideo, CocoFile, Follower, Pipeline, open_video

clip, out, *classes = sys.argv[1:]
Path(out).mkdir(parents=True, exist_ok=True)
sinks = [AnnotatedVideo(Path(out, "clip.mp4")), CocoFile(Path(out, "clip.json"), Path(clip).name)]
with Segmenter.load() as segmenter:
    follower = Follower(smooth=True, track=True, presence_threshold=0.55)

    def segment(images):
        return segmenter.batch(images, classes, presence_threshold=follower.asked_threshold)

    Pipeline(open_video(clip), segment, sinks, change=follower).run()
print(f"{out}/clip.mp4 and {out}/clip.json")
