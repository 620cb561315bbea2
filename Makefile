# The targets of this checkout; `make` alone lists them. All output goes to .venv/, build/ and dist/.
#
# Requires GNU make. On Windows, run it from a shell that has sh (Git for Windows includes one).

ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := .venv/Scripts
else
PYTHON ?= python3
BIN := .venv/bin
endif

# The address in examples/backworks.yaml.
URL := http://127.0.0.1:8080

# The sources of the compiled part of the package; when one changes, the package is rebuilt.
ENV := .venv/.made
SOURCES := pyproject.toml $(wildcard CMakeLists.txt native/* native/*/* sdk/c/*.h) tools/make_env.py

define HELP
make env           create .venv with the project (editable) and its tools
make plugins       build both example plugins into build/plugins/
make run           serve the example plugins on http://127.0.0.1:8080 until Ctrl-C
make test          run all tests
make test-windows  run the tests with Windows' Python under Wine (20 minutes, plus 5 the first time)
make test-aarch64  run the processor-dependent tests with an arm64 Python under qemu (20 minutes, plus 2 the first time)
make check         lint, check formatting and types
make docs          build the documentation site into build/docs/
make wheel         build the sdist, and a wheel from it, into dist/
make wheels        build the wheels for Linux and Windows into dist/, inspect and try them (3 minutes)
make soak          kill, replace and reload plugins under load, then check 100 million calls for leaks (6 minutes)
make bench         run all benchmarks, with results in benchmarks/results/ (15 minutes)
make bench-quick   run a short version of the benchmarks (2 minutes)
make clean         remove everything that make created
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

# Uses Windows' Python, its wheels and Wine, which it stores outside the checkout; see tools/windows/test.py.
# ARGS is passed to pytest: make test-windows ARGS=tests/test_ffi.py
test-windows: env
	@$(BIN)/python -m tools.windows.test $(ARGS)

# Uses a Python for aarch64, its wheels and qemu, which it stores outside the checkout; see tools/cross/test_aarch64.py.
# ARGS is passed to pytest: make test-aarch64 ARGS=tests/test_ffi.py
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

# Builds locally on Linux with Zig, and tests the wheels with Wine and qemu; see tools/wheels.py.
# ARGS are the targets: make wheels ARGS=x86_64-linux-musl
wheels: env
	@$(BIN)/python -m tools.wheels $(ARGS)

# Runs tests/soak.py for SECONDS, then tests/isolated/leaks.py; `make test` runs both briefly.
soak: env
	@$(BIN)/python tests/soak.py $(SECONDS)
	@SOAK_CALLS=100000000 $(BIN)/python -m pytest -q -s --timeout 0 -k test_leaks tests/test_ffi_native.py

# The benchmarks have their own environment, in build/bench; see benchmarks/README.md.
bench-env:
	@$(PYTHON) -m benchmarks.environment

bench: bench-env
	@build/bench/venv/bin/python -m benchmarks

bench-quick: bench-env
	@build/bench/venv/bin/python -m benchmarks --quick

clean:
	rm -rf .venv build dist
