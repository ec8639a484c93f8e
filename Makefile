# Needs make and Python >= 3.11; everything else goes into .venv. No activated environment is needed.
# Tools are run as `.venv/bin/python -m tool`: a console script's first line breaks in a folder with a space in its name.
# Kept to what GNU make 3.81 (macOS) and a POSIX shell understand.

PY := .venv/bin/python
STAMP := .venv/.installed
PYTHONS := $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTEST_FLAGS := -q -n 2 --dist worksteal --durations=5

# One maths thread for each of pytest's two workers; the pyright wheel carries its own copy of pyright, so that neither
# npm nor a network is needed, and the wrapper must not ask for a newer one.
TEST_ENV := OMP_NUM_THREADS=1 PYRIGHT_PYTHON_IGNORE_WARNINGS=1

# uv brings its own list of certificate authorities; hospitals and companies often add theirs to the machine's.
export UV_SYSTEM_CERTS ?= true

.PHONY: help env demo test test-slow lint pytest clean clean-env

help:
	@echo "make demo       make data, train, evaluate: some minutes on two cores, after the first install"
	@echo "make test       ruff, pyright and pytest; says at its end how long that took"
	@echo "make test-slow  the tests that take minutes: runs killed at thirty random moments"
	@echo "make env        only the environment, in .venv"
	@echo "make lint       only ruff and pyright"
	@echo "make clean      remove caches and the demo's data; never your data, weights or results"
	@echo "make clean-env  remove .venv"

env: $(STAMP)

# A second call does nothing until requirements.lock changes; a failed step leaves no stamp, so the next call goes on.
$(STAMP): requirements.lock | $(PY)
	@echo "environment 2/3: uv, the installer"
	@$(PY) -m pip install --quiet --disable-pip-version-check uv \
		|| echo "environment 2/3: uv is not to be had; going on with pip, which is slower"
	@echo "environment 3/3: the packages of requirements.lock (several GB, mostly PyTorch's; minutes on a first install)"
	@if $(PY) -m uv --version >/dev/null 2>&1; then $(PY) -m uv pip install --compile-bytecode --python $(PY) \
			-r requirements.lock; \
		else $(PY) -m pip install --disable-pip-version-check -r requirements.lock; fi \
		|| { echo "error: environment 3/3 failed; the lines above say why (network? disk space?). Then: make env" >&2; exit 1; }
	@touch $(STAMP)

# A system may have several Pythons, or one without venv (Debian packages it apart): take the first that will do.
$(PY):
	@echo "environment 1/3: .venv"
	@found=; seen=; for python in $(PYTHONS); do \
		version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
		seen="$$seen $$python is $$version;"; \
		if $$python -c '$(USABLE)' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "error: environment 1/3: no Python >= 3.11 with venv and ensurepip found" \
		"($${seen:- no python3 on PATH}). Install one (on Debian: apt install python3 python3-venv)," \
		"or name it: make env PYTHON=/path/to/python3" >&2; exit 1; fi; \
	$$found -m venv --clear .venv || { rm -rf .venv; \
		echo "error: environment 1/3: '$$found -m venv .venv' failed; the lines above say why" >&2; exit 1; }

lint: env
	$(PY) -m ruff check .
	$(TEST_ENV) $(PY) -m pyright

pytest: env
	$(TEST_ENV) $(PY) -m pytest $(PYTEST_FLAGS)

# In one shell, so that the time is told whether the tests pass or fail.
test: env
	@started=$$(date +%s); code=0; \
	{ $(PY) -m ruff check . && $(TEST_ENV) $(PY) -m pyright && $(TEST_ENV) $(PY) -m pytest $(PYTEST_FLAGS); } \
		|| code=$$?; \
	seconds=$$(($$(date +%s) - started)); \
	echo "make test took $$((seconds / 60)) min $$((seconds % 60)) s"; exit $$code

test-slow: env
	$(TEST_ENV) $(PY) -m pytest -q -n 2 -m slow

demo: env
	$(PY) -m data_utils.synthetic --out data/demo/raw
	$(PY) -m data_utils.prepare --config configs/demo.yaml
	$(PY) train.py --config configs/demo.yaml --split 1 --wandb-off
	$(PY) evaluate.py --weights weights/best_split1.pt --split 1 --save-csv --fps-iters 100
	@echo "Look at:"
	@echo "  weights/best_split1.pt         the trained model"
	@echo "  results/train_log_split1.csv   losses and validation scores, a line for each epoch"
	@echo "  results/runs/                  the run: config, logs, curves, panels (input, SR output, target, boxes)"
	@echo "  results/filter_log.csv         which raw frames were left out, and why"

clean:
	rm -rf .pytest_cache .ruff_cache .hypothesis build data/demo
	find . -name __pycache__ -type d -not -path "./.venv/*" -prune -exec rm -rf {} +

clean-env:
	rm -rf .venv
