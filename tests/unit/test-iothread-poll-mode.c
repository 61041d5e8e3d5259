/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The property poll-mode of IOThreads, and their counters in query-iothreads.
 */

#include "qemu/osdep.h"
#include "block/aio-wait.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-iothread.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "iothread-object.h"

static IOThread *add(const char *mode, Error **errp)
{
    QDict *props = qdict_new();

    if (mode) {
        qdict_put_str(props, "poll-mode", mode);
    }
    return iothread_add("io0", props, errp);
}

/* The event loop, qom-get and query-iothreads agree. */
static void assert_mode(IOThread *iothread, AioPollMode mode, const char *name)
{
    g_autoptr(IOThreadInfoList) info = qmp_query_iothreads(&error_abort);
    g_autofree char *got = object_property_get_str(OBJECT(iothread),
                                                   "poll-mode", &error_abort);

    g_assert_cmpint(qatomic_read(&iothread->ctx->loop.mode), ==, mode);
    g_assert_cmpstr(got, ==, name);
    g_assert_cmpstr(IOThreadPollMode_str(info->value->poll_mode), ==, name);
}

static void mode_is_adaptive_unless_told(void)
{
    assert_mode(add(NULL, &error_abort), AIO_POLL_ADAPTIVE, "adaptive");
    iothread_del("io0");
}

static void each_mode_reaches_the_event_loop(void)
{
    static const struct {
        const char *name;
        AioPollMode mode;
    } modes[] = {
        { "adaptive", AIO_POLL_ADAPTIVE },
        { "busy", AIO_POLL_BUSY },
        { "off", AIO_POLL_OFF },
    };
    IOThread *iothread;
    int i, j;

    for (i = 0; i < ARRAY_SIZE(modes); i++) {
        iothread = add(modes[i].name, &error_abort);
        assert_mode(iothread, modes[i].mode, modes[i].name);
        for (j = 0; j < ARRAY_SIZE(modes); j++) {
            object_property_set_str(OBJECT(iothread), "poll-mode",
                                    modes[j].name, &error_abort);
            assert_mode(iothread, modes[j].mode, modes[j].name);
        }
        iothread_del("io0");
    }
}

static void unknown_mode_changes_nothing(void)
{
    IOThread *iothread;
    Error *err = NULL;

    g_assert_null(add("eager", &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "poll-mode"));
    error_free(err);
    err = NULL;

    iothread = add("off", &error_abort);
    object_property_set_str(OBJECT(iothread), "poll-mode", "eager", &err);
    g_assert_nonnull(err);
    error_free(err);
    assert_mode(iothread, AIO_POLL_OFF, "off");
    iothread_del("io0");
}

static void other_options_keep_the_mode(void)
{
    IOThread *iothread = add("off", &error_abort);

    object_property_set_int(OBJECT(iothread), "poll-max-ns", 1000, &error_abort);
    object_property_set_int(OBJECT(iothread), "aio-max-batch", 7, &error_abort);
    assert_mode(iothread, AIO_POLL_OFF, "off");
    iothread_del("io0");
}

/* In the thread, which alone writes its counters. */
static void set_counters(void *opaque)
{
    qemu_get_current_aio_context()->loop.counters =
        *(const AioLoopCounters *)opaque;
}

/* What the loop counts meanwhile is far less than these. */
static void each_counter_is_shown_as_itself(void)
{
    static AioLoopCounters known = {
        .polls_hit = 1000000000000000000,
        .polls_vain = 2000000000000000000,
        .sleeps = 3000000000000000000,
        .syscalls = 4000000000000000000,
        .polled = 5000000000000000000,
        .descriptors = 6000000000000000000,
        .requests = 7000000000000000000,
        .bottom_halves = 8000000000000000000,
        .timers = 9000000000000000000,
    };
    IOThread *iothread = add("off", &error_abort);
    g_autoptr(IOThreadInfoList) info = NULL;
    IOThreadCounters *counters;

    aio_wait_bh_oneshot(iothread->ctx, set_counters, &known);
    info = qmp_query_iothreads(&error_abort);
    counters = info->value->counters;
#define SHOWN(member) \
    g_assert_cmpuint(counters->member / 1000000000000000000, ==, \
                     known.member / 1000000000000000000)
    SHOWN(polls_hit);
    SHOWN(polls_vain);
    SHOWN(sleeps);
    SHOWN(syscalls);
    SHOWN(polled);
    SHOWN(descriptors);
    SHOWN(requests);
    SHOWN(bottom_halves);
    SHOWN(timers);
#undef SHOWN
    iothread_del("io0");
}

int main(int argc, char **argv)
{
    module_call_init(MODULE_INIT_QOM);
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/iothread-poll-mode/" #name, name)
    TEST(mode_is_adaptive_unless_told);
    TEST(each_mode_reaches_the_event_loop);
    TEST(unknown_mode_changes_nothing);
    TEST(other_options_keep_the_mode);
    TEST(each_counter_is_shown_as_itself);
#undef TEST
    return g_test_run();
}
