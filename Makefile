# SPDX-License-Identifier: GPL-2.0-or-later
# The ways into the project; ninja in build/qemu does the work.

BUILD := build/qemu
PYTHON := $(firstword $(wildcard /usr/bin/python3) python3)
# empty: every test group; every bench room
GROUP :=
ROOM :=

.PHONY: all help build lay-out packages demo check bench hooks install deb clean

all: build

help:
	@echo 'make           build qemu-system-x86_64, qemu-storage-daemon and the tools'
	@echo 'make demo      boot a guest: two virtqueues, two IOThreads, verified data'
	@echo 'make check     run the tests (GROUP=name: one group)'
	@echo 'make bench     measure against the unpatched base (ROOM=name: one room)'
	@echo 'make hooks     take commits and edits in build/base back into patches/'
	@echo 'make install   install (DESTDIR=...; the prefix is given to ./configure)'
	@echo 'make deb       make a Debian package of the build, in build/'
	@echo 'make clean     remove the build, not the downloaded base'

$(BUILD)/build.ninja:
	@echo 'make: nothing is configured yet; run ./configure first' >&2; exit 1

lay-out: $(BUILD)/build.ninja
	@base/lay-out --again

build: lay-out
	@ninja -C $(BUILD)

packages:
	@base/install-deps --check

demo: packages lay-out
	@ninja -C $(BUILD) qemu-system-x86_64
	@$(PYTHON) tests/guest/demo.py --build $(BUILD)

check: packages build
	@$(PYTHON) tests/check.py --build $(BUILD) $(GROUP:%=--group %)

bench: packages build
	@$(PYTHON) tests/bench/bench.py --build $(BUILD) $(ROOM:%=--room %)

hooks:
	@base/hooks

install: build
	@DESTDIR='$(DESTDIR)' $(BUILD)/pyvenv/bin/meson install -C $(BUILD) --no-rebuild

# debian/rules, with what Debian's own tool sets up for it
deb:
	@PACKAGES=build dpkg-buildpackage --target=clean,binary,clean

clean:
	@rm -rf build
