# Every target sets itself up: it needs make and Python 3.11 to 3.13 (PYTHON=... to name one), nothing else.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PROMPT ?= a large red circle moving right
export JAX_PLATFORMS ?= cpu
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/xla
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0.3

.PHONY: demo test slow bench lint format clean

demo: $(VENV)/.installed
	$(BIN)/python -m sora_jax.sample --prompt "$(PROMPT)" --out out/demo.mp4 --sheet out/demo.png --score $(DEMO_FLAGS)

# Not reordered: files of few and long tests would come last, when one worker has nothing left to do.
test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow

bench: $(VENV)/.installed $(VENV)-bench/.installed
	$(BIN)/python experiments/003_speed/run.py --peers $(VENV)-bench/bin/python $(BENCH_FLAGS)
	$(BIN)/python experiments/003_speed/work.py

lint: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: $(VENV)/.installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 to 3.13 was found: install one, or name it with make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: setup.py | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/.installed-test: setup.py | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e '.[test]'
	touch $@ $(VENV)/.installed

# What the speed is compared with lives apart: PyTorch and diffusers are no part of the project.
$(VENV)-bench/.installed: | $(VENV)/bin/python
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet torch==2.13.0 "diffusers<1"
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-bench .cache build out *.egg-info
