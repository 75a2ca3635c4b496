# `make repro` and `make test` need Python 3.11 or later, make and git, and nothing else: the first run of either makes .venv.
PYTHON ?= python3.11
VENV := .venv
RUN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
INSTALLED := $(VENV)/.installed
REPORT := report/index.html
PDF := report/report.pdf
# To compile everything that is installed takes a minute; what is used is compiled when it is first imported, and that is kept.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help repro report-pdf full verify rehearsal check test unit plan clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --no-compile --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

repro: $(INSTALLED)  ## set up, run the pipeline on what params.yaml says, print the results
	$(RUN) dvc repro
	@$(RUN) python -m clipstore.tools.results
	@echo && echo "Report: $(CURDIR)/$(REPORT)"

report-pdf:  ## print the report to report/report.pdf with the Chromium that is installed
	@rm -f $(PDF); test -f $(REPORT) || { echo "$(REPORT): no such file; \`make repro\` makes it" >&2; exit 1; }
	@chromium=$$(command -v chromium || command -v chromium-browser || command -v google-chrome) || \
	  { echo "none of chromium, chromium-browser and google-chrome is installed: one of them prints the report" >&2; exit 1; }; \
	"$$chromium" --headless --no-sandbox --disable-gpu --no-pdf-header-footer --print-to-pdf=$(PDF) "file://$(CURDIR)/$(REPORT)" 2>/dev/null && \
	  test -s $(PDF) && echo $(PDF) || { echo "$$chromium could not print $(REPORT) to $(PDF)" >&2; exit 1; }

# `make full NETS=` leaves fine-tuning and training from scratch out, which take hours without a GPU.
NETS ?= yes
FULL := datasets=[flowers102,pets] corpora=[wikitext2] download=[flowers102,pets,wikitext2] encoders=[vitb32] zero_shot=[vitb32]
ifeq ($(strip $(NETS)),)
FULL += weights=[vitb32] finetune=[] scratch=[]
else
FULL += weights=[vitb32,resnet34] finetune=[resnet34] scratch=[own]
endif

full: $(INSTALLED)  ## fetch Flowers 102, Oxford-IIIT Pet, WikiText-2, OpenAI's ViT-B/32 and ResNet34, run the same pipeline on them
	$(RUN) dvc exp run $(foreach axis,$(FULL),-S 'axes.$(axis)')
	@$(RUN) python -m clipstore.tools.results
	@echo && echo "Report: $(CURDIR)/$(REPORT)"

verify: $(INSTALLED)  ## hold the figures of `make full` against the published ones
	@$(RUN) python -m clipstore.tools.verify

rehearsal: $(INSTALLED)  ## run `make full` on drawn archives and random weights, served on this machine, with failures
	$(RUN) python -m pytest tests/test_rehearsal.py

check: $(INSTALLED)  ## set up, lint, check formatting and types
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

test: check  ## the same, and run all tests
	$(RUN) python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

unit: $(INSTALLED)  ## run the tests that need neither DVC, a browser nor real photographs, but for the slowest
	$(RUN) python -m pytest -n $$(getconf _NPROCESSORS_ONLN) --maxprocesses 4 --dist loadfile -m "not dvc and not slow" --ignore tests/browser --ignore tests/real

plan: $(INSTALLED)  ## say what `make repro` and `make full` will run, fetch and keep, and about how long they take
	@echo "make repro (params.yaml as it is):" && $(RUN) python -m clipstore.tools.plan
	@echo "make full:" && $(RUN) python -m clipstore.tools.plan $(foreach axis,$(FULL),'$(axis)')

clean:  ## remove what the stages made, but neither data/raw nor the row cache
	rm -rf data/audit/* data/checkpoints/* data/corpora data/embeddings/* data/few_shot data/index/* data/predictions/* data/tokenizers data/weights/* data/params_checked data/runs.jsonl $(REPORT) $(PDF) dvc_plots .mypy_cache .pytest_cache .ruff_cache
