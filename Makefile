# The verbs of this checkout; `make` alone lists them. Everything that they make is under .venv/, build/ and dist/.
#
# GNU make. On Windows, run it from a shell that has sh (Git for Windows brings one).

ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := .venv/Scripts
else
PYTHON ?= python3
BIN := .venv/bin
endif

# Where examples/backworks.yaml is served.
URL := http://127.0.0.1:8080

# What the compiled part of the package is made from: when it changes, the package is built again.
ENV := .venv/.made
SOURCES := pyproject.toml $(wildcard CMakeLists.txt native/* native/*/* sdk/c/*.h) tools/make_env.py

define HELP
make env      make .venv, with the project (editable) and its tools
make plugins  build both example plugins into build/plugins/
make run      serve the example plugins on http://127.0.0.1:8080 until Ctrl-C
make test     run all tests
make test-windows  run them with Windows' Python under Wine: twenty minutes, the first time five more
make test-aarch64  run what meets the processor with a Python for aarch64 under qemu: twenty minutes, the first time two more
make check    lint, format and types
make docs     build the site of the documentation into build/docs/
make wheel    build the sdist, and a wheel from it, into dist/
make wheels   build the wheels for Linux and Windows into dist/, read them, and use those that can run here: three minutes
make soak     kill, replace and reload under load; 100 million calls: what is left behind? (six minutes)
make bench    measure everything, beside its peers, into benchmarks/results/ (15 minutes; bench-quick: two)
make clean    remove all that was made
endef

.PHONY: help env plugins run test test-windows test-aarch64 check docs wheel wheels soak bench bench-env bench-quick clean

help:
	@: $(info $(HELP))

env: $(ENV)

$(ENV): $(SOURCES)
	@$(PYTHON) tools/make_env.py
	@touch $@

plugins: env
	@$(MAKE) --silent --no-print-directory -C examples/weather_plugin_c OUT=$(CURDIR)/build/plugins
	@$(BIN)/python tools/rust.py build

run: plugins
	@$(BIN)/backworks config check examples/backworks.yaml
	@echo
	@echo "Serving until Ctrl-C. To try, in another terminal:"
	@echo "  curl '$(URL)/api/weather?limit=3'"
	@echo "  curl '$(URL)/api/weather/KORL'"
	@echo "  curl '$(URL)/api/weather' -H 'Content-Type: text/plain' -d 'KSEA 092253Z 17006KT 10SM BKN250 11/04 A2995'"
	@echo
	@$(BIN)/backworks serve examples/backworks.yaml

test: plugins
	@$(BIN)/python tools/rust.py test
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile

# With Windows' Python, its wheels and Wine, which it keeps outside of the checkout; tools/windows/test.py.
# ARGS is for pytest: make test-windows ARGS=tests/test_ffi.py
test-windows: env
	@$(BIN)/python -m tools.windows.test $(ARGS)

# With a Python for aarch64, its wheels and qemu, which it keeps outside of the checkout; tools/cross/test_aarch64.py.
# ARGS is for pytest: make test-aarch64 ARGS=tests/test_ffi.py
test-aarch64: env
	@$(BIN)/python -m tools.cross.test_aarch64 $(ARGS)

check: env
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/zizmor --quiet --offline .github
	@$(BIN)/python tools/rust.py check

docs: env
	@$(BIN)/python tools/site

wheel: env
	@$(BIN)/python -m build --outdir dist

# Without a forge, on Linux: with Zig, and for a use of the wheels with Wine and qemu; tools/wheels.py.
# ARGS are the targets: make wheels ARGS=x86_64-linux-musl
wheels: env
	@$(BIN)/python -m tools.wheels $(ARGS)

# tests/soak.py, for SECONDS, then tests/isolated/leaks.py; `make test` has both for a moment.
soak: env
	@$(BIN)/python tests/soak.py $(SECONDS)
	@SOAK_CALLS=100000000 $(BIN)/python -m pytest -q -s --timeout 0 -k test_leaks tests/test_ffi_native.py

# An environment of their own, in build/bench; see benchmarks/README.md.
bench-env:
	@$(PYTHON) -m benchmarks.environment

bench: bench-env
	@build/bench/venv/bin/python -m benchmarks

bench-quick: bench-env
	@build/bench/venv/bin/python -m benchmarks --quick

clean:
	rm -rf .venv build dist
