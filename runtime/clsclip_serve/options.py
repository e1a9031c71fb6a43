"""How a server is run."""

from __future__ import annotations

from dataclasses import dataclass

from clsclip_runtime.errors import OptionError
from clsclip_runtime.options import number_in

URLS = ("off", "public")


@dataclass(frozen=True)
class ServerOptions:
    """Limits of a server.

    Attributes:
        queue: requests that may wait; more are answered 503.
        timeout: seconds that a request may wait; it is answered 504 then. What has begun is finished.
        upload_timeout: seconds that the body of a request may take; it is answered 408 then.
        batch: requests that may share one call of the engine.
        batch_wait_ms: milliseconds for which a request waits for others, where ``batch`` is over 1.
        max_upload_mb: megabytes of a request; larger ones are answered 413.
        max_words: of a request.
        images_mb: mebibytes of pictures that are kept for their next words.
        images_ttl: seconds for which a picture is kept after its last use.
        urls: ``off``, or ``public``: pictures at https addresses of public hosts are fetched for clients.

    Raises:
        OptionError: a value makes no sense.
    """

    queue: int = 64
    timeout: float = 30.0
    upload_timeout: float = 60.0
    batch: int = 1
    batch_wait_ms: float = 5.0
    max_upload_mb: float = 20.0
    max_words: int = 1000
    images_mb: float = 512.0
    images_ttl: float = 600.0
    urls: str = "off"

    def __post_init__(self) -> None:
        number_in("queue", self.queue, 1, 100_000)
        number_in("timeout", self.timeout, 0.01, 86_400)
        number_in("upload_timeout", self.upload_timeout, 0.01, 86_400)
        number_in("batch", self.batch, 1, 1024)
        number_in("batch_wait_ms", self.batch_wait_ms, 0, 10_000)
        number_in("max_upload_mb", self.max_upload_mb, 0.001, 512)
        number_in("max_words", self.max_words, 1, 1_000_000)
        number_in("images_mb", self.images_mb, 0, 1 << 20)
        number_in("images_ttl", self.images_ttl, 1, 1_000_000)
        if self.urls not in URLS:
            raise OptionError(f"urls must be {' or '.join(URLS)}, and is {self.urls!r}")
