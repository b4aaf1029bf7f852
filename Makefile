# The commands of this repository. `make help` lists them.

# A Python 3.10 or 3.11 to make the environment with; looked for when it is empty.
PYTHON ?=
# Options for pytest, for instance PYTEST_FLAGS='-n 2 -k operator'.
PYTEST_FLAGS ?=
# Horovod's own settings for its build.
HOROVOD_FLAGS ?=
# The main job: what `make train` runs.
TRAIN = train_model.py --network=resnet_igc --depth=14 --primary-partition=24 \
	--secondary-partition=2 --rand-seed=1

VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/installed
HOROVOD_STAMP := $(VENV)/horovod-installed
BENCH_VENV := .bench-venv
BENCH_STAMP := $(BENCH_VENV)/installed
TORCH_VENV := .venv-torch
TORCH_STAMP := $(TORCH_VENV)/installed
CXX ?= g++
OPERATOR := $(wildcard $(foreach ending,h cc cu cuh,src_operator/*.$(ending) \
	src_operator/*/*.$(ending)))

export PYTHON CXX

.DEFAULT_GOAL := help
.PHONY: help venv venv-torch horovod train test chaos agreement bench-venv bench benchmark-reorder clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r name text; do printf '%-26s%s\n' "$$name" "$$text"; done

venv: $(STAMP) ## make .venv: MXNet for the CPU, this package, its native operators

$(STAMP): setup.py pyproject.toml $(OPERATOR)
	@tools/check_system.sh
	@if [ ! -x $(RUN) ] || ! $(RUN) -c '' 2>/dev/null; then \
		python=$$(tools/find_python.sh) || exit 1; \
		echo "Making $(VENV) with $$python"; \
		rm -rf $(VENV) && "$$python" -m venv $(VENV) || exit 1; \
	fi
	@echo "Installing what is needed and building the native operators (1 to 3 minutes; 4 with nvcc)"
	@$(RUN) -m pip install -q --disable-pip-version-check -e '.[cpu,zoo,dev,export,detection]'
	@$(RUN) -m pip install -q --disable-pip-version-check --no-deps gluoncv==0.10.5.post0
	@$(RUN) -c 'import igc.operator; igc.operator.load()'
	@touch $(STAMP)
	@echo "$(VENV) is ready"

venv-torch: $(TORCH_STAMP) ## make .venv-torch: PyTorch and MXNet for the CPU, without gluon-cv

# The native operators are those that .venv has built: an editable install of the same tree.
$(TORCH_STAMP): setup.py pyproject.toml | $(STAMP)
	@echo "Installing PyTorch and MXNet into $(TORCH_VENV) (1 to 3 minutes)"
	@$(RUN) -m venv $(TORCH_VENV)
	@$(TORCH_VENV)/bin/python -m pip install -q --disable-pip-version-check 'setuptools>=68,<80' wheel
	@IGC_OPERATOR=0 $(TORCH_VENV)/bin/python -m pip install -q --disable-pip-version-check \
		--no-build-isolation -e '.[cpu,torch,dev]'
	@$(TORCH_VENV)/bin/python -c 'import igc.pytorch'
	@touch $(TORCH_STAMP)
	@echo "$(TORCH_VENV) is ready"

horovod: $(HOROVOD_STAMP) ## build Horovod into .venv, for --kv-store=horovod (about 5 minutes)

# CMake 4 refuses what Horovod 0.28.1 brings; HOROVOD_FLAGS='HOROVOD_GPU_OPERATIONS=NCCL' for GPUs.
$(HOROVOD_STAMP): | $(STAMP)
	@echo "Compiling Horovod 0.28.1 for MXNet, with Gloo (about 5 minutes)"
	@$(RUN) -m pip install -q --disable-pip-version-check \
		'cmake>=3.18,<4' cloudpickle psutil pyyaml packaging cffi
	@PATH="$(abspath $(VENV))/bin:$$PATH" HOROVOD_WITH_MXNET=1 HOROVOD_WITH_GLOO=1 \
		HOROVOD_WITHOUT_MPI=1 HOROVOD_WITHOUT_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 \
		env $(HOROVOD_FLAGS) $(RUN) -m pip install -q --disable-pip-version-check \
		--no-build-isolation horovod==0.28.1
	@$(RUN) -c 'import horovod.mxnet as hvd; assert hvd.gloo_built()'
	@touch $(HOROVOD_STAMP)
	@echo "Horovod is ready: launch.py -n 2 -- python train_model.py --kv-store=horovod"

train: $(STAMP) ## train on scikit-learn's handwritten digits, with the accuracy at the end
	$(RUN) $(TRAIN)

test: $(STAMP) $(TORCH_STAMP) ## check the style and run all tests, fast ones first
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	@# most keep one core busy; threads that wait must leave the other its own
	OMP_WAIT_POLICY=passive $(RUN) -m pytest -m "not slow" -n 2 --dist loadfile $(PYTEST_FLAGS)
	OMP_WAIT_POLICY=passive $(RUN) -m pytest -m slow -n 2 --dist loadfile $(PYTEST_FLAGS)
	OMP_WAIT_POLICY=passive $(TORCH_VENV)/bin/python -m pytest tests/pytorch -n 2 --dist loadfile -o addopts='-ra --strict-markers'

chaos: $(STAMP) ## kill runs, damage files, take workers away, into chaos/results (15 to 30 minutes)
	$(RUN) -m chaos.kills
	$(RUN) -m chaos.inputs
	$(RUN) -m chaos.faults
	$(RUN) -m chaos.cost

agreement: $(STAMP) ## compare fused graphs with stock MXNet, into benchmarks/results (minutes)
	$(RUN) -m benchmarks.agreement

bench-venv: $(BENCH_STAMP) ## make .bench-venv: the engines to compare with, for the CPU

# torch asks for this version by name: a machine without a GPU then gets no CUDA packages.
$(BENCH_STAMP): | $(STAMP)
	@echo "Installing PyTorch, ONNX Runtime and OpenVINO into $(BENCH_VENV)"
	@$(RUN) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install -q --disable-pip-version-check \
		torch==2.13.0 numpy onnx onnxruntime openvino
	@touch $(BENCH_STAMP)

bench: $(STAMP) $(BENCH_STAMP) ## time the networks beside other engines, into benchmarks/results
	$(RUN) benchmark.py --train

benchmark-reorder: $(STAMP) ## time the native permutation beside MXNet's own operators
	$(RUN) benchmarks/reorder.py

clean: ## remove the environment and what was built
	rm -rf $(VENV) $(BENCH_VENV) $(TORCH_VENV) build dist *.egg-info src_operator/libigc_operator.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
