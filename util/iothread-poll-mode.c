/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How an IOThread waits, and what its event loop counted.
 */

#include "qemu/osdep.h"
#include "block/aio.h"
#include "system/iothread.h"

void iothread_poll_mode_start(IOThread *iothread)
{
    static const AioPollMode modes[] = {
        [IO_THREAD_POLL_MODE_ADAPTIVE] = AIO_POLL_ADAPTIVE,
        [IO_THREAD_POLL_MODE_BUSY] = AIO_POLL_BUSY,
        [IO_THREAD_POLL_MODE_OFF] = AIO_POLL_OFF,
    };

    aio_context_set_poll_mode(iothread->ctx, modes[iothread->poll_mode]);
}

static int get_poll_mode(Object *obj, Error **errp)
{
    return IOTHREAD(obj)->poll_mode;
}

static void set_poll_mode(Object *obj, int mode, Error **errp)
{
    IOThread *iothread = IOTHREAD(obj);

    iothread->poll_mode = mode;
    if (iothread->ctx) {
        iothread_poll_mode_start(iothread);
    }
}

void iothread_poll_mode_class_init(ObjectClass *klass)
{
    object_class_property_add_enum(klass, "poll-mode", "IOThreadPollMode",
                                   &IOThreadPollMode_lookup,
                                   get_poll_mode, set_poll_mode);
    object_class_property_set_description(klass, "poll-mode",
        "adaptive, busy or off (default: adaptive)");
}

static IOThreadCounters *get_counters(const AioLoopCounters *from)
{
    IOThreadCounters *counters = g_new(IOThreadCounters, 1);

    *counters = (IOThreadCounters) {
        .polls_hit = qatomic_read_u64(&from->polls_hit),
        .polls_vain = qatomic_read_u64(&from->polls_vain),
        .sleeps = qatomic_read_u64(&from->sleeps),
        .syscalls = qatomic_read_u64(&from->syscalls),
        .polled = qatomic_read_u64(&from->polled),
        .descriptors = qatomic_read_u64(&from->descriptors),
        .requests = qatomic_read_u64(&from->requests),
        .bottom_halves = qatomic_read_u64(&from->bottom_halves),
        .timers = qatomic_read_u64(&from->timers),
    };
    return counters;
}

void iothread_poll_mode_query(IOThread *iothread, IOThreadInfo *info)
{
    info->poll_mode = iothread->poll_mode;
    info->counters = get_counters(&iothread->ctx->loop.counters);
}
