# make demo: run the element on a clip.  make test: build and pass every test.  Both install what is missing by apt.
SHELL := /bin/bash
CARGO := cargo
# Where rustup puts cargo, for shells that were opened before.
export PATH := $(PATH):$(HOME)/.cargo/bin
IN ?=
PREFIX ?= /usr/local
DESTDIR ?=
# library, command, element, gimp, model, docs; nothing means all.
PARTS ?=

# Anything: with the device `cuda`, whose compiler is fetched. Nothing of CUDA is needed where it runs but the driver.
CUDA ?=
NVRTC = $(if $(CUDA),SSMOESR_NVRTC=$$(scripts/cuda-toolchain.sh) && export SSMOESR_NVRTC && )

.PHONY: help demo test test-cuda gpu-proof test-gimp3 test-training fuzz check fmt clippy doc deny build install install-gimp uninstall

help:
	@echo 'make demo [IN=clip.mp4] [FRAMES=24] [SCALE=4]   enlarge a clip into out/'
	@echo 'make test                                       build and run every test'
	@echo 'make test-cuda                                  the device cuda on an emulated GPU'
	@echo 'make gpu-proof                                  a folder that proves the device cuda on a machine with a GPU'
	@echo 'make test-gimp3                                 the GIMP plug-in in GIMP 3.0 and 3.2 (root; makes two Debian systems)'
	@echo 'make check                                      formatting, clippy, documentation, cargo deny'
	@echo 'make test-training                              the tests of the training code (PyTorch)'
	@echo 'make fuzz [FUZZ_SECONDS=60]                     each fuzz target for so long (cargo-fuzz)'
	@echo 'make build [CUDA=1]                             command, element, GIMP plug-in and C library, in target/release'
	@echo 'make install [PREFIX=/usr/local] [DESTDIR=] [PARTS=]   install what was built; make uninstall'
	@echo 'make install-gimp                               the plug-in into the profile of each of your GIMPs'

build:
	@scripts/setup.sh build
	$(NVRTC)$(CARGO) build --release --locked -p ssmoesr-cli -p gst-plugin-ssmoesr $(if $(CUDA),--features 'ssmoesr-cli/cuda gst-plugin-ssmoesr/cuda')
	@# Alone: the others switch on parts of core that these do without.
	$(NVRTC)$(CARGO) build --release --locked -p ssmoesr-ffi $(if $(CUDA),--features cuda)
	$(NVRTC)$(CARGO) build --release --locked -p ssmoesr-gimp $(if $(CUDA),--features cuda)

install uninstall:
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/install.sh $@ $(PARTS)

install-gimp:
	@scripts/setup.sh build
	$(CARGO) build --release --locked -p ssmoesr-gimp
	@$${CARGO_TARGET_DIR:-target}/release/ssmoesr-gimp --install

demo:
	@scripts/setup.sh demo
	$(CARGO) build --release --locked -p gst-plugin-ssmoesr -p ssmoesr-examples
	@scripts/demo.sh "$(IN)"

test:
	@scripts/setup.sh test
	$(CARGO) test --workspace --locked

test-cuda:
	@scripts/setup.sh build test
	@scripts/test-cuda.sh

gpu-proof:
	@scripts/setup.sh build test
	@scripts/gpu-proof.sh

test-gimp3:
	@scripts/setup.sh test gimp3
	@scripts/test-gimp3.sh

test-training:
	@scripts/test-training.sh

FUZZ_SECONDS ?= 60
fuzz:
	@scripts/fuzz.sh $(FUZZ_SECONDS)

check: fmt clippy doc deny

fmt:
	$(CARGO) fmt --all --check

clippy:
	@scripts/setup.sh build
	$(CARGO) clippy --workspace --all-targets --locked $(if $(CUDA),--features ssmoesr-core/cuda) -- -D warnings

doc:
	@scripts/setup.sh build
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked

deny:
	@scripts/deny.sh
