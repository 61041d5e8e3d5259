/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI configuration space over qtest, see pci.h.
 */
#include "pci.h"
#include "qtest.h"
#include <linux/pci_regs.h>

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc

static void select_register(const struct pci_function *f, unsigned at)
{
    qtest_out(4, CONFIG_ADDRESS, 1u << 31 | f->devfn << 8 | (at & 0xfc));
}

uint32_t pci_config_read(const struct pci_function *f, unsigned size,
                         unsigned at)
{
    select_register(f, at);
    return qtest_in(size, CONFIG_DATA + (at & 3));
}

void pci_config_write(const struct pci_function *f, unsigned size,
                      unsigned at, uint32_t value)
{
    select_register(f, at);
    qtest_out(size, CONFIG_DATA + (at & 3), value);
}

bool pci_find(struct pci_function *f, uint16_t vendor, uint16_t device)
{
    for (f->devfn = 0; f->devfn < 256; f->devfn++) {
        if (pci_config_read(f, 4, PCI_VENDOR_ID) ==
            (vendor | (uint32_t)device << 16)) {
            return true;
        }
    }
    return false;
}

/*
 * Sizes and sets the BAR @i (PCI 3.0, 6.2.5.1); the number of registers it
 * takes. Ports are left alone.
 */
static unsigned enable_bar(struct pci_function *f, unsigned i, uint64_t *next)
{
    unsigned at = PCI_BASE_ADDRESS_0 + 4 * i;
    uint32_t low, size;
    bool wide;

    pci_config_write(f, 4, at, UINT32_MAX);
    low = pci_config_read(f, 4, at);
    wide = (low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) ==
           PCI_BASE_ADDRESS_MEM_TYPE_64;
    if (!low || (low & PCI_BASE_ADDRESS_SPACE_IO)) {
        pci_config_write(f, 4, at, 0);
        return 1;
    }
    /* a virtio BAR is far smaller than 4 GiB: the low half tells its size */
    size = ~(low & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK) + 1;
    if (!size || *next + 2ull * size > 0xfec00000) {
        die("PCI function %02x.%x: BAR %u does not fit", f->devfn >> 3,
            f->devfn & 7, i);
    }
    f->bar[i] = ROUND_UP_TO(*next, size);
    *next = f->bar[i] + size;
    pci_config_write(f, 4, at, f->bar[i]);
    if (wide) {
        pci_config_write(f, 4, at + 4, 0);
    }
    return wide ? 2 : 1;
}

void pci_enable(struct pci_function *f, uint64_t *next)
{
    unsigned i;

    for (i = 0; i < PCI_BARS; i++) {
        f->bar[i] = 0;
    }
    for (i = 0; i < PCI_BARS;) {
        i += enable_bar(f, i, next);
    }
    pci_config_write(f, 2, PCI_COMMAND,
                     PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

unsigned pci_capability(const struct pci_function *f, uint8_t id, unsigned at)
{
    unsigned hops;

    at = pci_config_read(f, 1, at ? at + PCI_CAP_LIST_NEXT
                                  : PCI_CAPABILITY_LIST);
    /* a list that bites its tail has more than fits */
    for (hops = 0; at >= 0x40 && hops < 48; hops++) {
        if (pci_config_read(f, 1, at) == id) {
            return at;
        }
        at = pci_config_read(f, 1, at + PCI_CAP_LIST_NEXT);
    }
    return 0;
}
