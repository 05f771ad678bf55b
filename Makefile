# Two commands: `make demo` and `make test`. Everything happens in .venv of this folder; no root needed.
PYTHON ?= python3
BIN = .venv/bin
KERNELS = $(wildcard cython_ext/*.pyx cython_ext/*.pxd)
PACKAGES = aggregator cloud_link control cython_ext drivers edge examples models

.PHONY: demo test test-slow test-peers check coverage bench clean

demo: .venv/ready
	$(BIN)/edge demo --for 60s $(ARGS)

# Unit tests side by side; then whole sites, whose cycles must not be late because of a neighbour.
test: .venv/ready
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests $(ARGS)
	$(BIN)/python -m pytest -q hil_tests $(ARGS)

# Slow suites: the mutation of the safety code, and the whole demo.
test-slow: .venv/ready
	$(BIN)/python -m pytest -q -m slow tests hil_tests $(ARGS)

# Peers of the benchmarks that are not Python: libmodbus (C) and mbpoll from Debian, node-opcua from npm.
# Then, for instance: .venv/bin/edge bench poll --json
bench: .venv/ready
	sh tools/peers.sh

# Beside programs of other makes: libmodbus, mbpoll, pymodbus.simulator, node-opcua.
test-peers: .venv/ready
	sh tools/peers.sh
	$(BIN)/python -m pytest -q -m peers hil_tests/peers $(ARGS)

coverage: .venv/ready
	$(BIN)/python -m coverage run -m pytest -q tests/control tests/cython_ext
	$(BIN)/python -m coverage report --fail-under=100

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint --max-line-length 110 cython_ext
	$(BIN)/codespell
	$(BIN)/python -m pytest -q tests/test_sizes.py

.venv/ready: setup.py pyproject.toml constraints.txt tools/prepare.sh $(KERNELS)
	sh tools/prepare.sh "$(PYTHON)"
	touch $@

clean:
	rm -rf .venv build *.egg-info cython_ext/*.so
