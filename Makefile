# Both from a bare machine with Python; run again, they only do what is missing.
PYTHON ?= python3

.PHONY: help demo plus serve web test test-fast test-slow test-ascii installs planted fuzz check docs docs-test dist cpp cpp-sanitize cpp-aarch64 cpp-no-tokenizer clean

help:  ## this list
	@awk -F ':.*  ## ' '/^[a-z0-9-]+:.*  ## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

demo: .venv/demo.done  ## the main job: install the runtime alone, segment three pictures, lay out twelve that nobody chose
	.venv/demo/bin/clsclip-infer $(DEMO_PICTURES) --classes $(DEMO_WORDS) --out out
	.venv/demo/bin/python examples/09_twelve.py out/twelve.png
	@echo "Look at out/judge_0005_overlay.png and out/twelve.png"

DEMO_PICTURES = $(addprefix examples/judge/judge_00, $(addsuffix .png, 05 01 10))
DEMO_WORDS = "bubble tea" rhinoceros "roller skate" "stop sign" robot hamster telephone alien steak pear

plus: .venv/demo.done  ## ClsCLIP+: tiny things, missed in the whole picture and found in its parts, without a detector or boxes
	.venv/demo/bin/clsclip-infer examples/tiny.png --classes $(TINY_WORDS) --out out/whole
	.venv/demo/bin/clsclip-infer examples/tiny.png --classes $(TINY_WORDS) --zoom-in --refine --out out/plus
	@echo "Look at out/whole/tiny_overlay.png and out/plus/tiny_overlay.png"

serve: .venv/serve.done  ## install the server alone, and serve on http://127.0.0.1:8000; options in SERVE
	.venv/serve/bin/clsclip-serve $(SERVE)

.venv/serve.done: setup.cfg pyproject.toml $(shell find runtime -name '*.py' -o -path '*/page/*' 2>/dev/null)
	$(PYTHON) -m venv .venv/serve
	.venv/serve/bin/pip install --quiet --disable-pip-version-check '.[serve]'
	touch $@

web:  ## the model in the browser alone, on http://127.0.0.1:8001; needs npm
	cd examples/web && npm install
	rm -rf examples/web/model.clsclip
	cp -R runtime/clsclip_runtime/models/stickers.clsclip examples/web/model.clsclip
	$(PYTHON) -m http.server 8001 --bind 127.0.0.1 --directory examples/web

TINY_WORDS = snake caterpillar "top hat" folder

.venv/demo.done: setup.cfg pyproject.toml $(shell find runtime/clsclip_runtime -type f -not -name '*.pyc' 2>/dev/null)
	$(PYTHON) -m venv .venv/demo
	.venv/demo/bin/pip install --quiet --disable-pip-version-check .
	touch $@

TEST = .venv/dev/bin/python -m pytest -n 2 --dist worksteal

test: .venv/dev.done  ## all tests but the slow ones; installs PyTorch (5.7 GB)
	$(TEST) -m "not slow"

test-fast: .venv/dev.done  ## what takes a second at most, without C++ and the network, in 90 seconds
	$(TEST) -m "not slow and not long and not network" --ignore=tests/cpp

test-slow: .venv/dev.done  ## what takes ten seconds or more
	$(TEST) -m slow

installs: .venv/dev.done  ## lowest versions, each extra, the GPU command: fresh installations, from the network
	.venv/dev/bin/python -m tests.installs

test-ascii: .venv/dev.done  ## the commands' tests once more, in a locale and terminal of ASCII
	LC_ALL=C PYTHONIOENCODING=ascii:strict $(TEST) -m "not network" tests/test_ascii.py tests/runtime/cli \
		tests/runtime/test_doctor.py $(wildcard tests/*/*/test_command.py tests/*/test_commands.py)

planted: .venv/dev.done  ## mistakes are planted in the modules that call CUDA and TensorRT; tests must find all
	.venv/dev/bin/python -m tests.planting

FUZZ_COUNT ?= 10000
FUZZ_JOBS ?= 2

fuzz: .venv/dev.done  ## damaged and hostile files of every kind, in every engine and in C++; takes hours
	for kind in $$(.venv/dev/bin/python -m tests.fuzz --kinds); do \
	  .venv/dev/bin/python -m tests.fuzz $$kind --count $(FUZZ_COUNT) --jobs $(FUZZ_JOBS) || failed=1; \
	done; test -z "$$failed"

check: .venv/dev.done  ## lint, types, floors, spelling, documentation
	.venv/dev/bin/ruff check .
	.venv/dev/bin/ruff format --check .
	for system in linux win32 darwin; do \
	  .venv/dev/bin/mypy --platform $$system -p clsclip -p clsclip_runtime -p clsclip_serve -p clsclip_export -p clsclip_bench || exit 1; done
	.venv/dev/bin/lint-imports
	.venv/dev/bin/codespell
	.venv/dev/bin/python -m tests.pages.english
	$(MAKE) --no-print-directory docs

docs: .venv/dev.done  ## the documentation, into build/site; whatever is wrong with it is an error
	NO_MKDOCS_2_WARNING=1 .venv/dev/bin/mkdocs build --strict

docs-test: .venv/dev.done  ## run the commands and programs of README and docs, and list what cannot run here
	.venv/dev/bin/python -m tests.pages

dist: .venv/dev.done  ## the files of a release: source distribution and wheel, into dist/
	.venv/dev/bin/python -m tests.release

cpp:  ## the C++ runtime: configure, build, test, and build the example against what is installed
	runtime/cpp/scripts/build.sh build/cpp -DCLSCLIP_WERROR=ON
	cd build/cpp && ctest --output-on-failure
	runtime/cpp/scripts/try_installed.sh build/cpp
	cmake -S runtime/cpp/tests/parts -B build/cpp-parts -DCLSCLIP_WERROR=ON
	cmake --build build/cpp-parts --parallel 2 --target clsclip-parts

SANITIZED = -DCMAKE_BUILD_TYPE=Debug -DCLSCLIP_TOOLS=OFF -DCLSCLIP_ONNXRUNTIME=OFF -DCLSCLIP_WERROR=ON

cpp-sanitize: .venv/dev.done  ## its tests with checks of addresses, undefined behaviour and threads
	runtime/cpp/scripts/build.sh build/cpp-address $(SANITIZED) -DCLSCLIP_SANITIZE=address
	cd build/cpp-address && ctest --label-exclude slow --output-on-failure
	runtime/cpp/scripts/build.sh build/cpp-thread $(SANITIZED) -DCLSCLIP_SANITIZE=thread
	cd build/cpp-thread && ctest --label-regex threads --output-on-failure
	cmake -S runtime/cpp/tests/parts -B build/cpp-parts-address -DCLSCLIP_SANITIZE=ON
	cmake --build build/cpp-parts-address --parallel 2
	CLSCLIP_PARTS=build/cpp-parts-address/clsclip-parts .venv/dev/bin/python -m pytest $(PARTS)

cpp-aarch64: .venv/dev.done  ## cross built for 64-bit ARM; what needs no engine is tested under qemu
	runtime/cpp/scripts/cross.sh build/cpp-aarch64
	cd build/cpp-aarch64 && ctest --output-on-failure
	CLSCLIP_PARTS="$(QEMU) build/cpp-aarch64/clsclip-parts/clsclip-parts" .venv/dev/bin/python -m pytest $(PARTS)

cpp-no-tokenizer:  ## the C++ runtime for bundles that hold their words
	runtime/cpp/scripts/build.sh build/cpp-no-tokenizer -DCLSCLIP_TOKENIZER=OFF -DCLSCLIP_TOOLS=OFF -DCLSCLIP_WERROR=ON
	cd build/cpp-no-tokenizer && ctest --output-on-failure

QEMU = qemu-aarch64 -L /usr/aarch64-linux-gnu

PARTS = $(addprefix tests/cpp/test_, $(addsuffix .py, tokenizer resize detectors masks tiles bundles))

.venv/dev.done: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv/dev
	.venv/dev/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build out *.egg-info
