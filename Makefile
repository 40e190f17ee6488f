# For developers: run `bash install.sh test` once, then `make` before every commit.
BIN := venv/bin

.PHONY: all style format types imports test quick kernels page check serve example constraints

all: style types imports page test

style:
	$(BIN)/ruff check .

format:
	$(BIN)/ruff format whisperlivekit tests benchmarks

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports

# Many tests wait for real time; two processes use the waiting. A file's tests stay together with their server.
test:
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Without the tests that need a model or a browser or take more than five seconds.
quick:
	$(BIN)/python -m pytest -m "not slow and not browser and not model"

# The tests that use the model, under each CPU kernel of CTranslate2 that is not this machine's default.
kernels:
	$(BIN)/python -m tests.kernels

page:
	node --test tests/web/*.test.js

check:
	$(BIN)/whisperlivekit check

serve:
	$(BIN)/whisperlivekit serve

# What is generated from the settings' declarations. A test fails when it is out of date.
example:
	$(BIN)/python -m whisperlivekit.settings > .env.example
	$(BIN)/python -m whisperlivekit settings-example --markdown > .table.new
	sed -i -e '/^<!-- settings -->$$/,/^<!-- \/settings -->$$/{//!d}' -e '/^<!-- settings -->$$/r .table.new' README.md
	rm .table.new

# After new versions were installed and all tests passed with them.
constraints:
	sed -n '/^#/p;/^nvidia-cublas/p' constraints.txt > constraints.new
	$(BIN)/pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu$$//' | grep -v '^nvidia-cublas' >> constraints.new
	mv constraints.new constraints.txt
