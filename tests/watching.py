"""Run a command where nothing leaves the machine, and tell which names it looked up and what it did beside.

    unshare --net --mount python -m tests.watching FILE SECONDS COMMAND ...

In a network of its own, with a name server that only listens: every name that anything in the process asks for, Python
or not, is written to FILE, one a line. SECONDS are waited after the command, for what is sent late.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path


def bring_up_loopback() -> None:
    up, set_flags = 1, 0x8914
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, set_flags, struct.pack("16sh", b"lo", up))


def listen(names: list[str]) -> None:
    """Answer nothing, and note every name that is asked for."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))

    def read() -> None:
        while True:
            data, sender = server.recvfrom(4096)
            parts, at = [], 12
            while data[at]:
                parts.append(data[at + 1 : at + 1 + data[at]].decode("ascii", "replace"))
                at += 1 + data[at]
            names.append(".".join(parts))
            server.sendto(data[:2] + b"\x81\x83" + data[4:], sender)  # there is no such name

    threading.Thread(target=read, daemon=True).start()


def main() -> int:
    report, seconds, command = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    names: list[str] = []
    bring_up_loopback()
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as resolver:
        resolver.write("nameserver 127.0.0.1\n")
        resolver.flush()
        subprocess.run(["mount", "--bind", resolver.name, "/etc/resolv.conf"], check=True)
        listen(names)
        code = subprocess.run(command, env=os.environ, check=False).returncode
        time.sleep(seconds)
        report.write_text("\n".join(sorted(set(names))))
        subprocess.run(["umount", "/etc/resolv.conf"], check=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
