# The two commands: `make demo` and `make test`. Both set up .venv first, which is cheap once it is done.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.installed

.PHONY: setup demo test test-fast bench lint lock states clean

setup: $(SETUP)

$(SETUP): requirements-cpu.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("idem_ray needs Python 3.11 or newer: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip==26.3"
	@# The registry's plain torch is a CUDA build; +cpu is taken from what pip is configured with, else PyTorch's own index.
	$(BIN)/python -m pip install --quiet --no-deps "$$(grep '^torch==' requirements-cpu.lock)" || \
	  $(BIN)/python -m pip install --quiet --no-deps "$$(grep '^torch==' requirements-cpu.lock)" --index-url https://download.pytorch.org/whl/cpu
	@# --no-deps: the lock is complete, and leaves out CUDA builds (torchvision, torchaudio, ...) that break vLLM on a CPU.
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-cpu.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: setup
	$(BIN)/idem-ray run jobs/configs/laptop_sft.yaml

test: test-fast
	$(BIN)/python -m pytest tests --ignore=tests/unit -m "not gpu and not bench" --durations=15

# Two at a time, each with a thread: on two cores the embedded judges' tests are most of it.
test-fast: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit -n 2 --dist loadfile --durations=10

# Timings against the bare libraries; wants an otherwise idle machine.
bench: setup
	$(BIN)/python -m pytest -m bench -s

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Resolve pyproject.toml's requirements anew for Linux x86-64 and pin what comes out, without the CUDA builds.
lock: setup
	$(BIN)/python .ci/lock.py > requirements-cpu.lock.new && mv requirements-cpu.lock.new requirements-cpu.lock

# What the embedded judge has read of the shipped traits' examples, after a change of these or of the embedded model.
states: setup
	$(BIN)/python .ci/judge_states.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache idem_ray.egg-info
