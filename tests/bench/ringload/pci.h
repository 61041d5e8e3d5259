/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Just enough of PCI to find a function on the root bus of a PC and give it
 * addresses: configuration mechanism 1 (PCI Local Bus Specification 3.0,
 * section 3.2.2.3.2) over qtest's port I/O.
 */
#ifndef RINGLOAD_PCI_H
#define RINGLOAD_PCI_H

#include "util.h"

#define PCI_BARS 6

struct pci_function {
    unsigned devfn;                 /* on bus 0 */
    uint64_t bar[PCI_BARS];         /* addresses; 0: none, or of ports */
};

uint32_t pci_config_read(const struct pci_function *f, unsigned size,
                         unsigned at);
void pci_config_write(const struct pci_function *f, unsigned size,
                      unsigned at, uint32_t value);

/* The first function on bus 0 with these ids; false where there is none. */
bool pci_find(struct pci_function *f, uint16_t vendor, uint16_t device);

/*
 * Gives all memory BARs addresses from *@next on, which is moved, and switches
 * memory access and bus mastering on.
 */
void pci_enable(struct pci_function *f, uint64_t *next);

/*
 * The place of the next capability @id after the one at @at (0: the first), or
 * 0.
 */
unsigned pci_capability(const struct pci_function *f, uint8_t id, unsigned at);

#endif
