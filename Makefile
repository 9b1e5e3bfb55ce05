# Everything runs on the environment in .venv, which tools/install.sh builds on the first call.
# Run `make` alone for the list of commands.

SHELL := /bin/sh
PY := .venv/bin/python
ONLY ?=
ID ?= ?
LAB_ARGS ?=
PORT ?= 8000
SCORES ?= build/challenge

# Jupyter, IPython and matplotlib keep their files inside the checkout, so that nothing is
# registered outside it and nobody's own settings change a result.
export JUPYTER_CONFIG_DIR := $(CURDIR)/.jupyter/config
export JUPYTER_DATA_DIR := $(CURDIR)/.jupyter/data
export JUPYTER_RUNTIME_DIR := $(CURDIR)/.jupyter/runtime
export IPYTHONDIR := $(CURDIR)/.jupyter/ipython
export MPLCONFIGDIR := $(CURDIR)/.jupyter/matplotlib
export PYTHONNOUSERSITE := 1

# Files are UTF-8, whatever the locale; and asserts, which the claims are, stay switched on.
export PYTHONUTF8 := 1
unexport PYTHONOPTIMIZE

.PHONY: help lab test notebooks exercises classroom scoreboard figures figure seeds lint bench lock clean env \
    peers grader press book book-serve embed test-web browser weights ablation

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

lab: env ## open the series in JupyterLab
	@$(PY) -m jupyter lab --ip=127.0.0.1 --ServerApp.root_dir="$(CURDIR)" \
	    --LabApp.extension_manager=readonly $(if $(filter 0,$(shell id -u)),--allow-root) \
	    $(LAB_ARGS) notebooks/00_start_here.ipynb

test: peers grader press ## run lint, unit tests, every lesson and its exercises
	@$(PY) tools/run_tests.py

test-web: book browser ## open the book and JupyterLab in a real browser, and use them
	@$(PY) -m pytest -q -n 2 --dist load tests/web

notebooks: env ## run the lessons again, store their outputs and figures (ONLY=04 for one)
	@$(PY) tools/run_notebooks.py $(ONLY)

exercises: env ## make the learner's notebooks from notebooks/solutions (ONLY=04 for one)
	@$(PY) tools/exercises.py $(ONLY)

classroom: grader ## lay out nbgrader's course in build/classroom, ready to hand out and to grade
	@$(PY) tools/exercises.py --classroom $(ONLY)

scoreboard: env ## rate a class's entries to the challenge (SCORES=build/challenge)
	@$(PY) tools/scoreboard.py "$(SCORES)"

figures: env ## draw the seminar's figures again, into figures/
	@$(PY) tools/run_notebooks.py --figures

figure: env ## draw one of them: make figure ID=s26-few-steps
	@$(PY) tools/run_notebooks.py --figures "$(ID)"

seeds: env ## run the lessons for the seeds 0 to 9, store nothing (ONLY=04 for one)
	@$(PY) tools/run_notebooks.py --seeds 0-9 $(ONLY)

lint: env ## put code into the project's form, and show what ruff has to say
	@$(PY) -m ruff format && $(PY) -m ruff check --fix

book: press build/npm/complete ## build the book from the notebooks as they are stored, into build/book
	@rm -rf build/book.part && $(PY) -m sphinx -E -W --keep-going -q -c book -d build/doctrees . build/book.part && \
	    rm -rf build/book && mv build/book.part build/book
	@echo "build/book/index.html"

embed: env ## put changed scripts of explorables into the lessons that show them, running none
	@$(PY) tools/explorables.py

book-serve: book ## show the book on 127.0.0.1 (PORT=8000)
	@echo "http://127.0.0.1:$(PORT)/ shows it, until Ctrl-C"
	@$(PY) -m http.server --bind 127.0.0.1 --directory build/book $(PORT)

bench: peers book browser ## measure speed, as ratios, and quality at few steps and of images (half an hour)
	@for name in training checks frames peers few_steps images; do $(PY) benchmarks/$$name.py || exit 1; done

weights: env ## train the stored networks again, lesson 09's and the challenge's (seven minutes)
	@$(PY) -m fmlib.tiny_flux && $(PY) -m fmlib.challenge

ablation: env ## measure what each part of that model buys (twenty minutes)
	@$(PY) benchmarks/tiny_flux.py

lock: env ## resolve pyproject.toml into requirements.lock
	@$(PY) -m venv build/lock
	@build/lock/bin/python -m pip install --quiet pip-tools
	@CUSTOM_COMPILE_COMMAND="make lock" build/lock/bin/python -m piptools compile --quiet --upgrade \
	    --all-extras --strip-extras --no-annotate --no-emit-find-links --no-emit-index-url \
	    --no-emit-trusted-host --output-file build/requirements.lock pyproject.toml
	@sed 's/+cpu$$//' build/requirements.lock > requirements.lock

clean: ## remove what the other commands made, the environment included
	@rm -rf .venv .jupyter build .pytest_cache .ruff_cache .hypothesis .coverage
	@find . \( -name __pycache__ -o -name .ipynb_checkpoints -o -name '*.part' \) -prune -exec rm -rf {} +

# Install a lock file, $(1), beside what is there, unless .venv/$(2).lock says it is done.
define install
	@cmp -s $(1) .venv/$(2).lock || { \
	    $(PY) -m pip install --quiet --disable-pip-version-check --no-deps -r $(1) && \
	    cp $(1) .venv/$(2).lock; } || \
	    { echo "make: $(3) could not be installed: check the network, then run this again" >&2; exit 1; }
endef

peers: env
	$(call install,tests/peers/requirements.lock,peers,the libraries that tests/peers compares with)

grader: env
	$(call install,requirements-classroom.lock,classroom,nbgrader)

press: grader
	$(call install,requirements-book.lock,book,Sphinx)

browser: env
	$(call install,tests/web/requirements.lock,web,Playwright)
	@test -n "$(CHROMIUM)" || command -v chromium >/dev/null || { \
	    test "$$(id -u)" = 0 && apt-get update -qq && \
	    apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; } || \
	    { echo "make: install Chromium (Debian's package chromium), or say CHROMIUM=<its path>" >&2; exit 1; }

# MathJax for the book's pages, and axe-core for their tests, in the versions of package-lock.json.
# Only what a page may load goes into the site.
MATHJAX := build/npm/static/mathjax
build/npm/complete: book/package.json book/package-lock.json
	@command -v npm >/dev/null || \
	    { echo "make: the book needs npm, which comes with Node.js, to get MathJax: install it" >&2; exit 1; }
	@rm -rf build/npm && mkdir -p build/npm && cp $^ build/npm
	@npm ci --prefix build/npm --ignore-scripts --no-audit --no-fund --silent || \
	    { echo "make: MathJax could not be installed: check the network, then run this again" >&2; exit 1; }
	@mkdir -p $(MATHJAX)/input $(MATHJAX)/output $(MATHJAX)/a11y $(MATHJAX)/mathjax-newcm-font
	@cd build/npm/node_modules && cp mathjax/LICENSE mathjax/startup.js mathjax/core.js ../static/mathjax && \
	    cp -R mathjax/input/tex.js mathjax/input/tex ../static/mathjax/input && \
	    cp mathjax/output/svg.js ../static/mathjax/output && \
	    cp mathjax/a11y/assistive-mml.js ../static/mathjax/a11y && \
	    cp -R @mathjax/mathjax-newcm-font/svg.js @mathjax/mathjax-newcm-font/svg ../static/mathjax/mathjax-newcm-font
	@touch $@

env:
	@PYTHON="$(PYTHON)" sh tools/install.sh
