"""As much of CVAT's REST API as ``cvat-cli task auto-annotate`` asks of: one task with some frames."""

from __future__ import annotations

import io
import json
import zipfile
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image

from tests.serve.stub import Stub


class CvatStub(Stub):
    """A server on this machine; what is uploaded stands in ``shapes``."""

    def __init__(self, frames: list[Image.Image], labels: list[str], version: str) -> None:
        """Serve one task."""
        self.frames, self.labels, self.version = frames, labels, version
        self.shapes: list[dict[str, Any]] = []
        self.unknown: list[str] = []
        super().__init__()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """See :class:`Stub`."""
        size = int(handler.headers.get("Content-Length", 0))
        body = json.loads(handler.rfile.read(size)) if handler.command != "GET" else None
        url = urlsplit(handler.path)
        content, kind = self._content(url.path.rstrip("/"), parse_qs(url.query), body)
        handler.send_response(200 if content is not None else 404)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(content or b"")))
        handler.end_headers()
        handler.wfile.write(content or b"")

    def _content(self, path: str, query: dict[str, list[str]], body: Any) -> tuple[bytes | None, str]:
        if path == "/api/tasks/1/data" and query.get("type") == ["chunk"]:
            return self._chunk(), "application/zip"
        if path == "/api/tasks/1/annotations":
            if body is not None:
                self.shapes += body["shapes"]
            found: Any = {"version": 1, "tags": [], "shapes": body["shapes"] if body else [], "tracks": []}
        elif path == "/api/server/about":
            found = {"name": "CVAT", "description": "", "version": self.version, "logo_url": "", "subtitle": ""}
        elif path == "/api/tasks/1":
            found = self._task()
        elif path == "/api/labels":
            labels = [
                {"id": at + 1, "name": name, "color": "#ffffff", "type": "any", "attributes": [], "sublabels": []}
                for at, name in enumerate(self.labels)
            ]
            found = {"count": len(labels), "next": None, "previous": None, "results": labels}
        elif path == "/api/tasks/1/data/meta":
            found = self._meta()
        else:
            self.unknown.append(path)
            return None, "application/json"
        return json.dumps(found).encode(), "application/json"

    def _task(self) -> dict[str, Any]:
        linked = {"url": self.address, "count": 0}
        return {
            "id": 1, "url": "", "name": "task", "mode": "annotation", "owner": None, "assignee": None,
            "bug_tracker": "",
            "created_date": "2026-01-01T00:00:00Z", "updated_date": "2026-01-01T00:00:00Z", "overlap": 0,
            "segment_size": len(self.frames), "status": "annotation", "size": len(self.frames), "dimension": "2d",
            "data_chunk_size": len(self.frames), "data_compressed_chunk_type": "imageset", "project_id": None,
            "data_original_chunk_type": "imageset", "subset": "", "organization": None, "target_storage": None,
            "source_storage": None, "image_quality": 70, "data": 1, "guide_id": None, "consensus_enabled": False,
            "labels": linked, "jobs": {**linked, "completed": 0, "validation": 0}, "issues": linked,
            "validation_mode": None, "media_type": "image", "organization_id": None,
        }  # fmt: skip

    def _meta(self) -> dict[str, Any]:
        frames = [
            {
                "width": one.width,
                "height": one.height,
                "name": f"{at}.png",
                "related_files": 0,
                "has_related_context": False,
            }
            for at, one in enumerate(self.frames)
        ]
        return {
            "chunk_size": len(frames), "size": len(frames), "image_quality": 70, "start_frame": 0,
            "stop_frame": len(frames) - 1, "frame_filter": "", "frames": frames, "deleted_frames": [],
            "included_frames": None, "storage_method": "file_system", "storage": "local", "chunks_updated_date":
            "2026-01-01T00:00:00Z", "cloud_storage_id": None,
        }  # fmt: skip

    def _chunk(self) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for at, one in enumerate(self.frames):
                encoded = io.BytesIO()
                one.save(encoded, "PNG")
                archive.writestr(f"{at:06}.png", encoded.getvalue())
        return file.getvalue()
