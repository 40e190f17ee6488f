# For people who develop: `bash install.sh test` once, then `make` before every commit.
BIN := venv/bin

.PHONY: all style format types imports test quick page check serve example constraints

all: style types imports page test

style:
	$(BIN)/ruff check .

format:
	$(BIN)/ruff format whisperlivekit tests benchmarks

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports

test:
	$(BIN)/python -m pytest

# Without what needs a model, a browser or patience.
quick:
	$(BIN)/python -m pytest -m "not slow and not browser and not model"

page:
	node --test tests/web/*.test.js

check:
	$(BIN)/whisperlivekit check

serve:
	$(BIN)/whisperlivekit serve

# What is generated from the Settings class. A test fails when it is out of date.
example:
	$(BIN)/python -m whisperlivekit.settings > .env.example
	$(BIN)/python -m whisperlivekit settings-example --markdown > .table.new
	sed -i -e '/^<!-- settings -->$$/,/^<!-- \/settings -->$$/{//!d}' -e '/^<!-- settings -->$$/r .table.new' README.md
	rm .table.new

# After new versions were installed and everything passed with them.
constraints:
	sed -n '/^#/p;/^nvidia-cublas/p' constraints.txt > constraints.new
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//' | grep -v '^nvidia-cublas' >> constraints.new
	mv constraints.new constraints.txt
