# Every target installs first; `make install` twice does nothing the second time.
PYTHON := $(firstword $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p; done))
BIN := .venv/bin
PEERS := build/peers/.installed
INSTALLED := .venv/.installed-$(shell cat pyproject.toml requirements.lock | cksum | cut -d' ' -f1)

.PHONY: install demo test check bench bench-kernel profile chaos rubbish backtest calibrate recordings

install: $(INSTALLED)

$(INSTALLED):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or put it on the PATH"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	@rm -f .venv/.installed-*
	@touch $@

demo: install
	$(BIN)/stream-twin demo $(ARGS)

test: install
	$(BIN)/python -m pytest $(ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m stream_twin.contract --check
	$(BIN)/python -m stream_twin.settings --check
	$(BIN)/python -m stream_twin.serve.metrics --check
	$(BIN)/python grafana/dashboard.py --check

bench: install $(PEERS)
	$(BIN)/python -m benchmarks.bench $(ARGS)

bench-kernel: install
	$(BIN)/python -m benchmarks.kernel $(ARGS)

profile: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[bench]'
	$(BIN)/python -m benchmarks.flame $(ARGS)

# Quix Streams and bytewax refuse the versions that the service uses, so they live beside it.
$(PEERS): benchmarks/peers/requirements.txt
	test -x build/peers/bin/python || $(PYTHON) -m venv build/peers
	build/peers/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

chaos: install
	$(BIN)/python -m benchmarks.chaos $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

rubbish: install
	$(BIN)/python -m benchmarks.rubbish $(ARGS)

backtest: install
	$(BIN)/python -m benchmarks.backtest $(ARGS)

calibrate: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[bench]'
	$(BIN)/python -m benchmarks.calibration $(DATA) $(ARGS)

recordings: install
	$(BIN)/python -m benchmarks.recordings $(ARGS)
