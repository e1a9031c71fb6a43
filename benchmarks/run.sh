#!/bin/sh
# Everything in benchmarks/README.md and the figures of speed of other pages, measured again in about 45 minutes on two
# cores; goes on where it was stopped. Keep the machine quiet meanwhile. --fresh forgets what was measured before.
set -e
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/dev/bin/python}" -m benchmarks.run "$@"
