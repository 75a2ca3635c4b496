# All targets need only Python 3.11 or later, make and git; the first run creates .venv. (report-pdf also needs Chromium.)
PYTHON ?= python3.11
VENV := .venv
RUN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
INSTALLED := $(VENV)/.installed
REPORT := report/index.html
PDF := report/report.pdf
PEERS := .venv-peers
# --no-compile saves a minute of installation: Python compiles modules on first import, and must be allowed to cache the result.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help repro report-pdf full verify rehearsal check test unit plan bench bench-peers clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --no-compile --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

repro: $(INSTALLED)  ## set up, run the pipeline as params.yaml configures it, print the results
	$(RUN) dvc repro
	@$(RUN) python -m clipstore.tools.results
	@echo && echo "Report: $(CURDIR)/$(REPORT)"

report-pdf:  ## print the report to report/report.pdf with an installed Chromium or Chrome
	@rm -f $(PDF); test -f $(REPORT) || { echo "$(REPORT): no such file; \`make repro\` creates it" >&2; exit 1; }
	@chromium=$$(command -v chromium || command -v chromium-browser || command -v google-chrome) || \
	  { echo "no browser found: install chromium, chromium-browser or google-chrome to print the report" >&2; exit 1; }; \
	"$$chromium" --headless --no-sandbox --disable-gpu --no-pdf-header-footer --print-to-pdf=$(PDF) "file://$(CURDIR)/$(REPORT)" 2>/dev/null && \
	  test -s $(PDF) && echo $(PDF) || { echo "$$chromium failed to print $(REPORT) to $(PDF)" >&2; exit 1; }

# `make full NETS=` skips fine-tuning and training from scratch, which take hours without a GPU.
NETS ?= yes
FULL := datasets=[flowers102,pets] corpora=[wikitext2] download=[flowers102,pets,wikitext2] encoders=[vitb32] zero_shot=[vitb32]
ifeq ($(strip $(NETS)),)
FULL += weights=[vitb32] finetune=[] scratch=[]
else
FULL += weights=[vitb32,resnet34] finetune=[resnet34] scratch=[own]
endif

full: $(INSTALLED)  ## download Flowers 102, Oxford-IIIT Pet, WikiText-2, OpenAI's ViT-B/32 and ResNet34, run the same pipeline on them
	$(RUN) dvc exp run $(foreach axis,$(FULL),-S 'axes.$(axis)')
	@$(RUN) python -m clipstore.tools.results
	@echo && echo "Report: $(CURDIR)/$(REPORT)"

verify: $(INSTALLED)  ## compare the results of `make full` with published ones
	@$(RUN) python -m clipstore.tools.verify

rehearsal: $(INSTALLED)  ## test `make full` on small generated archives and random weights from a local server, with network failures
	$(RUN) python -m pytest tests/test_rehearsal.py

check: $(INSTALLED)  ## set up, lint, check formatting and types
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

test: check  ## run check and all tests
	$(RUN) python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

unit: $(INSTALLED)  ## run the fast tests that need neither DVC, a browser nor real photographs
	$(RUN) python -m pytest -n $$(getconf _NPROCESSORS_ONLN) --maxprocesses 4 --dist loadfile -m "not dvc and not slow" --ignore tests/browser --ignore tests/real

plan: $(INSTALLED)  ## show what `make repro` and `make full` would run, download and store, with estimated times
	@echo "make repro (params.yaml as it is):" && $(RUN) python -m clipstore.tools.plan
	@echo "make full:" && $(RUN) python -m clipstore.tools.plan $(foreach axis,$(FULL),'$(axis)')

# `make bench BENCH="speed --images FOLDER"` runs one part with options; `python -m benchmarks.embedding --help` lists them.
BENCH ?=
bench: $(INSTALLED)  ## compare the speed of embedding with its neighbours, which `make bench-peers` installs
	$(RUN) python -m benchmarks.embedding $(BENCH)

bench-peers: $(PEERS)/.installed  ## install CLIP_benchmark and clip-retrieval into .venv-peers

$(PEERS)/.installed: benchmarks/peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint benchmarks/peers.txt clip-benchmark clip-retrieval setuptools
	touch $@

clean:  ## remove the outputs of the stages, but neither data/raw nor the row cache
	rm -rf data/audit/* data/checkpoints/* data/corpora data/embeddings/* data/few_shot data/index/* data/label_next data/predictions/* data/simulation data/tokenizers data/weights/* data/params_checked data/runs.jsonl $(REPORT) $(PDF) dvc_plots .mypy_cache .pytest_cache .ruff_cache
