/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nvme-probe PATH: what a transport promises, tried with the controller that a
 * vfio-user server has at PATH.  It is identified, reset, and identified again; each
 * time the completion is waited for by its interrupt.  Prints what it was told.
 */

#include "qemu/osdep.h"
#include <sys/eventfd.h>
#include <sys/mman.h>
#include "../../block/nvme/transport.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/main-loop.h"
#include "qemu/memfd.h"

/* NVM Express Base Specification 2.0, 3.1.3 */
#define CAP  0x00
#define VS   0x08
#define CC   0x14
#define CSTS 0x1c
#define AQA  0x24
#define ASQ  0x28
#define ACQ  0x30

#define SIZE (2 << 20)          /* servers that use huge pages want this much */
#define IOVA 0x40000000
#define DEPTH 32

/* In the memory: the admin queues, and what the controller says of itself. */
#define SQ   0x0000
#define CQ   0x1000
#define DATA 0x2000

static uint8_t *memory;

static uint64_t reg(NvmeTransport *t, unsigned offset, unsigned size)
{
    uint64_t value;

    g_assert_cmpint(t->ops->read(t, offset, size, &value), ==, 0);
    return value;
}

static void set(NvmeTransport *t, unsigned offset, unsigned size, uint64_t value)
{
    g_assert_cmpint(t->ops->write(t, offset, size, value), ==, 0);
}

static void set_enabled(NvmeTransport *t, bool enabled)
{
    /* entries of 64 and 16 bytes */
    set(t, CC, 4, enabled | 6 << 16 | 4 << 20);
    while ((reg(t, CSTS, 4) & 1) != enabled) {
        g_usleep(1000);
    }
}

static void ring(NvmeTransport *t, unsigned doorbell, uint32_t value)
{
    if (t->doorbells) {
        smp_wmb();
        t->doorbells[doorbell] = cpu_to_le32(value);
    } else {
        set(t, NVME_DOORBELLS + doorbell * 4, 4, value);
    }
}

static void identify(NvmeTransport *t, int irq)
{
    uint8_t *command = memory + SQ;
    uint64_t signals;

    memset(memory, 0, SIZE);
    set_enabled(t, false);
    set(t, AQA, 4, (DEPTH - 1) << 16 | (DEPTH - 1));
    set(t, ASQ, 8, IOVA + SQ);
    set(t, ACQ, 8, IOVA + CQ);
    set_enabled(t, true);

    command[0] = 6;
    stq_le_p(command + 24, IOVA + DATA);
    stl_le_p(command + 40, 1);
    ring(t, 0, 1);
    g_assert_cmpint(RETRY_ON_EINTR(read(irq, &signals, 8)), ==, 8);
    /* phase set, no error */
    g_assert_cmphex(lduw_le_p(memory + CQ + 14), ==, 1);
    ring(t, 1, 1);
    printf("serial %.20s\n", memory + DATA + 4);
}

static void on_lost(void *opaque)
{
    g_assert_not_reached();
}

int main(int argc, char **argv)
{
    int fd = qemu_memfd_create("probe", SIZE, false, 0, 0, &error_abort);
    int irq = eventfd(0, EFD_CLOEXEC);
    NvmeDmaMapping m = { .size = SIZE, .iova = IOVA, .fd = fd };
    NvmeTransport *t;

    qemu_init_main_loop(&error_abort);
    m.host = memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    t = nvme_vfio_user_open(argv[1], on_lost, NULL, &error_fatal);
    printf("cap 0x%" PRIx64 "\nvs 0x%" PRIx64 "\nvectors %u\ndoorbells %s\n",
           reg(t, CAP, 8), reg(t, VS, 4), t->n_irqs,
           t->doorbells ? "mapped" : "registers");
    g_assert_cmpint(t->ops->map(t, &m, &error_abort), ==, 0);
    g_assert_cmpint(t->ops->set_irqs(t, &irq, 1, &error_abort), ==, 0);
    identify(t, irq);
    g_assert_cmpint(t->ops->reset(t), ==, 0);
    printf("reset csts 0x%" PRIx64 "\n", reg(t, CSTS, 4));
    identify(t, irq);
    set_enabled(t, false);
    t->ops->unmap(t, &m);
    t->ops->close(t);
    return 0;
}
