/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The handler of SIGBUS in memory whose file another process has made shorter.
 *
 * It puts a page of zeroes there, so that what touched it goes on, and makes the
 * main loop look, which tells whose memory it is.  System calls get EFAULT, an I/O
 * error, in place of the signal.
 *
 * The handler may run in any thread at any time, and so takes no lock: a slot is
 * never freed, and is filled in before it is used and emptied after; nobody
 * touches memory that is not mapped.  Signals elsewhere are for who had them
 * before.  No thread has the signal blocked (qemu_thread_create(); the main loop's,
 * install()), which would end the process: those of the pool copy a front-end's
 * memory too.
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "block/aio.h"
#include "qemu/atomic.h"
#include "qemu/event_notifier.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/truncated-memory.h"

struct TruncatedMemory {
    uintptr_t start;            /* atomic; 0: unused */
    size_t length;
    size_t page;
    TruncatedMemoryFunc *found;
    void *opaque;
    bool is_found;              /* atomic; written by the handler */
    TruncatedMemory *next;
};

/* Protects all but for the handler, which reads: memory is unmapped in any thread. */
static QemuMutex lock;
static TruncatedMemory *slots;
static struct sigaction before;
static EventNotifier wake_up;
static bool installed;

static void __attribute__((__constructor__)) lock_init(void)
{
    qemu_mutex_init(&lock);
}

static TruncatedMemory *slot_of(uintptr_t addr)
{
    TruncatedMemory *slot = qatomic_load_acquire(&slots);

    for (; slot; slot = slot->next) {
        uintptr_t start = qatomic_load_acquire(&slot->start);
        size_t length = qatomic_read(&slot->length);

        /* the length; then the start once more: they belong together if it is same */
        smp_rmb();
        if (start && addr >= start && addr - start < length &&
            qatomic_read(&slot->start) == start) {
            return slot;
        }
    }
    return NULL;
}

/* Only what may be called in a signal handler. */
static bool put_zeroes(TruncatedMemory *slot, uintptr_t addr)
{
    void *page = (void *)QEMU_ALIGN_DOWN(addr, slot->page);

    if (mmap(page, slot->page, PROT_READ | PROT_WRITE,
             MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
        return false;
    }
    qatomic_set(&slot->is_found, true);
    event_notifier_set(&wake_up);
    return true;
}

static void handler(int signal, siginfo_t *info, void *context)
{
    int saved = errno;
    uintptr_t addr = (uintptr_t)info->si_addr;
    TruncatedMemory *slot = info->si_code == BUS_ADRERR ? slot_of(addr) : NULL;
    bool done = slot && put_zeroes(slot, addr);

    errno = saved;
    if (done) {
        return;
    }
    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(signal, info, context);
    } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
        before.sa_handler(signal);
    } else {
        /* what touched it touches it again */
        sigaction(SIGBUS, &before, NULL);
    }
}

void truncated_memory_look(void)
{
    TruncatedMemory *slot;

    QEMU_LOCK_GUARD(&lock);
    for (slot = slots; slot; slot = slot->next) {
        if (slot->start && qatomic_xchg(&slot->is_found, false)) {
            slot->found(slot->opaque);
        }
    }
}

static void look(EventNotifier *notifier)
{
    event_notifier_test_and_clear(notifier);
    truncated_memory_look();
}

static void install(void)
{
    struct sigaction action = {
        .sa_sigaction = handler,
        .sa_flags = SA_SIGINFO | SA_ONSTACK,
    };
    sigset_t set;

    event_notifier_init(&wake_up, false);
    aio_set_event_notifier(qemu_get_aio_context(), &wake_up, look, NULL, NULL);
    sigaction(SIGBUS, &action, &before);
    /* the main loop has it come from a signalfd, and the same handler called there */
    sigemptyset(&set);
    sigaddset(&set, SIGBUS);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    installed = true;
}

TruncatedMemory *truncated_memory_add(void *start, size_t length, size_t page,
                                      TruncatedMemoryFunc *found, void *opaque)
{
    TruncatedMemory *slot;

    QEMU_LOCK_GUARD(&lock);
    if (!installed) {
        install();
    }
    for (slot = slots; slot && slot->start; slot = slot->next) {
        ;
    }
    if (!slot) {
        slot = g_new0(TruncatedMemory, 1);
        slot->next = slots;
        /* empty; then the handler finds it */
        qatomic_store_release(&slots, slot);
    }
    /* emptied before; then filled in: see slot_of() */
    smp_wmb();
    qatomic_set(&slot->length, length);
    slot->page = page;
    slot->found = found;
    slot->opaque = opaque;
    slot->is_found = false;
    /* filled in; then it is used */
    qatomic_store_release(&slot->start, (uintptr_t)start);
    return slot;
}

void truncated_memory_remove(TruncatedMemory *slot)
{
    QEMU_LOCK_GUARD(&lock);
    qatomic_set(&slot->start, 0);
}
