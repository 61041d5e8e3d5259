/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Run in a guest: reads a register whose value does not change, until a file is there,
 * and says how often it had another value.
 *
 *     mmio-reads ADDRESS FILE
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include <sys/mman.h>

#define READS 1000      /* between looks for the file */
#define PAUSE 100       /* turns between reads: others want the device's lock, too */

int main(int argc, char **argv)
{
    unsigned long reads = 0, wrong = 0;
    volatile uint32_t *page;
    uint64_t address;
    uint32_t first;
    int fd;

    if (argc != 3 || qemu_strtou64(argv[1], NULL, 0, &address)) {
        fprintf(stderr, "usage: mmio-reads ADDRESS FILE\n");
        return 2;
    }
    fd = open("/dev/mem", O_RDONLY | O_SYNC);
    page = fd < 0 ? MAP_FAILED
                  : mmap(NULL, qemu_real_host_page_size(), PROT_READ, MAP_SHARED, fd,
                         ROUND_DOWN(address, qemu_real_host_page_size()));
    if (page == MAP_FAILED) {
        perror("mmio-reads: /dev/mem");
        return 1;
    }
    page += address % qemu_real_host_page_size() / sizeof(*page);
    first = *page;
    while (access(argv[2], F_OK)) {
        for (unsigned i = 0; i < READS; i++) {
            wrong += *page != first;
            for (volatile unsigned turn = 0; turn < PAUSE; turn++) {
            }
        }
        reads += READS;
    }
    printf("0x%" PRIx32 " %lu %lu\n", first, reads, wrong);
    return 0;
}
