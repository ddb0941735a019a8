# make demo   set up (no root, no MPI, no Horovod) and go all the way on made-up products, in minutes
# make docs   build the pages as a site, into build/site; a broken link is an error
# make test   set up everything that the tests need and run them; REQUIRE_ALL=1: a missing component is a failure
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
OLDEST := $(VENV)-oldest
HPC_SR_CACHE ?= $(HOME)/.cache/hpc_sr
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
# apt waits for who holds dpkg's lock; for the lock of its lists it does not, so `system` asks again.
APT = LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 $(APT_OPTIONS)
SYSTEM_PACKAGES := openmpi-bin libopenmpi-dev slurm-wlm munge shellcheck iproute2

.PHONY: demo docs test test-oldest lint bench install install-all horovod system clean

demo: install
	rm -rf demo
	$(BIN)/hpc-sr demo --out demo

docs: install
	$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[docs,report,tensorboard,xarray]'
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/site

# Two processes: one starts ranks, jobs and commands, the other runs the unit tests beside it.
test: install-all
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

# The unit tests with the oldest versions that setup.cfg allows, but for graphs: constraints-oldest.txt says why.
test-oldest: $(OLDEST)/.installed
	PATH="$(abspath $(OLDEST)/bin):$$PATH" $(OLDEST)/bin/python -m pytest $(or $(PYTEST_ARGS),tests/unit --ignore=tests/unit/export)

lint: install-all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	$(BIN)/python -m hpc_sr.bench run --out benchmarks/$$(date -I)_suite.json

install: $(VENV)/.installed
install-all: system $(VENV)/.installed-all

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt setuptools wheel
	$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[report,tensorboard]'
	touch $@

$(OLDEST)/.installed: setup.cfg pyproject.toml constraints-oldest.txt
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip --disable-pip-version-check install -q -c constraints-oldest.txt setuptools wheel
	$(OLDEST)/bin/pip --disable-pip-version-check install -q -c constraints-oldest.txt --no-build-isolation -e '.[dev]'
	touch $@

# Horovod and mpi4py need a compiler or an MPI; where there is none, the tests that need them say so.
$(VENV)/.installed-all: $(VENV)/.installed
	$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	if command -v mpirun >/dev/null; then $(PIP) install -q -c constraints.txt mpi4py; fi
	$(MAKE) horovod && touch $@ || echo 'Horovod was not built: see above; its tests will say so'

# With MPI and NCCL where they are there; the wheel is kept per Python, torch and these.
horovod: $(VENV)/.installed
	tools/horovod.sh $(BIN) $(HPC_SR_CACHE)/wheels

# As root on Debian, the batch system and MPI that the tests submit to; elsewhere nothing is touched.
system:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! dpkg -s $(SYSTEM_PACKAGES) >/dev/null 2>&1; then \
	  for ((left_s = 600; ; left_s--)); do \
	    told=$$($(APT) update 2>&1) && break; \
	    [[ $$told == *'Could not get lock'* && $$left_s -gt 0 ]] || { echo "$$told" >&2; exit 1; }; \
	    [ $$left_s -lt 600 ] || echo "$$told: waiting for it" >&2; \
	    sleep 1; \
	  done; \
	  $(APT) install -y --no-install-recommends $(SYSTEM_PACKAGES) >/dev/null; \
	fi

clean:
	rm -rf $(VENV) $(OLDEST) build *.egg-info demo
