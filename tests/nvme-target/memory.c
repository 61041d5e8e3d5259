/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's memory by DMA address: a sorted table of what it has mapped.
 */
#include "target.h"
#include <sys/mman.h>

void memory_add(Target *t, uint64_t iova, uint64_t size, void *host, bool writable)
{
    unsigned i;

    for (i = 0; i < t->n_regions; i++) {
        if (t->regions[i].iova == iova) {
            return;             /* mapped again, as it was */
        }
    }
    if (t->n_regions == TARGET_MAX_REGIONS || !size) {
        return;                 /* libvfio-user has refused it already */
    }
    for (i = t->n_regions++; i > 0 && t->regions[i - 1].iova > iova; i--) {
        t->regions[i] = t->regions[i - 1];
    }
    t->regions[i] = (Region) { iova, size, host, writable };
    t->last = NULL;
}

void memory_remove(Target *t, uint64_t iova)
{
    unsigned i;

    for (i = 0; i < t->n_regions; i++) {
        if (t->regions[i].iova == iova) {
            queues_unmapped(t, iova, t->regions[i].size);
            t->n_regions--;
            memmove(&t->regions[i], &t->regions[i + 1],
                    (t->n_regions - i) * sizeof(t->regions[0]));
            t->last = NULL;
            return;
        }
    }
}

void *memory_find_slow(Target *t, uint64_t iova, uint64_t size, bool write)
{
    unsigned low = 0, high = t->n_regions;

    while (low < high) {
        unsigned middle = (low + high) / 2;
        const Region *r = &t->regions[middle];

        if (iova < r->iova) {
            high = middle;
        } else if (iova - r->iova >= r->size) {
            low = middle + 1;
        } else if (!r->host || size > r->size - (iova - r->iova) ||
                   (write && !r->writable)) {
            return NULL;
        } else {
            if (r->writable) {
                t->last = r;
            }
            return r->host + (iova - r->iova);
        }
    }
    return NULL;
}

/*
 * A client can cut off a file after it has offered it.  The page that is missing
 * is replaced by one of zeroes, and the client has to live with that.
 */
static void on_sigbus(int signal, siginfo_t *info, void *opaque)
{
    uintptr_t page = (uintptr_t)info->si_addr & -(uintptr_t)qemu_real_host_page_size();
    unsigned i;

    for (i = 0; i < target.n_regions; i++) {
        const Region *r = &target.regions[i];

        if (r->host && (uintptr_t)info->si_addr - (uintptr_t)r->host < r->size) {
            if (mmap((void *)page, qemu_real_host_page_size(),
                     PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED) {
                target.errors[ERROR_ADDRESS]++;
                return;
            }
        }
    }
    abort();
}

void memory_catch_sigbus(void)
{
    struct sigaction action = {
        .sa_sigaction = on_sigbus,
        .sa_flags = SA_SIGINFO,
    };

    sigaction(SIGBUS, &action, NULL);
}
