/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * answers: how soon an IOThread that polls a saturated queue answers others.
 *
 * A thread with an AioContext serves a queue that is never empty, as the export
 * serves a ring that a front-end keeps full: passes of --pass requests, by the fast
 * path, to a null device.  Meanwhile another thread schedules a bottom half there,
 * signals an eventfd that it watches, and has a timer run out, in turns, and
 * measures how long each has to wait.
 *
 * Prints JSON: for each kind, microseconds; and how many requests were served.
 */

#include "qemu/osdep.h"
#include <getopt.h>
#include <sched.h>
#include "block/aio.h"
#include "block/block.h"
#include "block/fast-path.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/module.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "system/block-backend.h"

#define BLOCK 4096
#define DELAY_NS (200 * SCALE_US)
#define PAUSE_US 100

typedef enum Kind {
    KIND_BH,
    KIND_EVENTFD,
    KIND_TIMER,
    KIND__MAX,
} Kind;

static const char *const kind_name[KIND__MAX] = { "bottom_half", "eventfd", "timer" };

static struct {
    AioPollMode mode;
    unsigned pass, samples;
    int cpu, client_cpu;        /* -1: anywhere */
} options = { AIO_POLL_BUSY, 128, 2000, -1, -1 };

/* The thread that serves. */
static struct {
    QemuThread thread;
    QemuEvent ready;
    AioContext *ctx;
    BlockBackend *blk;
    BlkFastRequest request;
    QEMUIOVector qiov;
    void *buffer;
    EventNotifier queue, other;
    QEMUTimer *timer;
    uint64_t served;
    bool stop;
} server;

static int64_t due;             /* when the answer should come */
static int64_t late;            /* -1: it has not come; else by how much, in ns */

static void pin(int cpu)
{
    cpu_set_t set;

    if (cpu >= 0) {
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        if (sched_setaffinity(0, sizeof(set), &set) < 0) {
            error_report("cannot run on CPU %d: %s", cpu, strerror(errno));
            exit(1);
        }
    }
}

static void answered(void *opaque)
{
    qatomic_store_release(&late, MAX(get_clock() - qatomic_read(&due), 0));
}

static void other_ready(EventNotifier *notifier)
{
    event_notifier_test_and_clear(notifier);
    answered(NULL);
}

static void never(BlkFastRequest *request, int ret)
{
    g_assert_not_reached();     /* a null device answers at once */
}

static void serve(EventNotifier *notifier)
{
    unsigned i;

    for (i = 0; i < options.pass; i++) {
        BlkFastRequest *request = &server.request;

        *request = (BlkFastRequest) {
            .op = BLK_FAST_READ,
            .offset = (server.served + i) * BLOCK % (1 << 30),
            .bytes = BLOCK,
            .qiov = &server.qiov,
            .cb = never,
        };
        if (blk_fast_submit(server.blk, request) != 0) {
            error_report("the fast path is not open");
            exit(1);
        }
    }
    server.served += options.pass;
}

static void kicked(EventNotifier *notifier)
{
    event_notifier_test_and_clear(notifier);
    serve(notifier);
}

static bool always(void *opaque)
{
    return true;
}

static void *run_server(void *opaque)
{
    AioContext *ctx = server.ctx;

    rcu_register_thread();
    pin(options.cpu);
    qemu_set_current_aio_context(ctx);
    aio_set_event_notifier(ctx, &server.queue, kicked, always, serve);
    aio_set_event_notifier(ctx, &server.other, other_ready, NULL, NULL);
    server.timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_NS, answered, NULL);
    qemu_event_set(&server.ready);
    while (!qatomic_read(&server.stop)) {
        aio_poll(ctx, true);
    }
    timer_free(server.timer);
    aio_set_event_notifier(ctx, &server.other, NULL, NULL, NULL);
    aio_set_event_notifier(ctx, &server.queue, NULL, NULL, NULL);
    rcu_unregister_thread();
    return NULL;
}

static void stop(void *opaque)
{
    qatomic_set(&server.stop, true);
}

static int64_t ask(Kind kind)
{
    qatomic_set(&late, -1);
    qatomic_set(&due, get_clock());
    switch (kind) {
    case KIND_BH:
        aio_bh_schedule_oneshot(server.ctx, answered, NULL);
        break;
    case KIND_EVENTFD:
        event_notifier_set(&server.other);
        break;
    case KIND_TIMER:
        qatomic_set(&due, get_clock() + DELAY_NS);
        timer_mod(server.timer, due);
        break;
    default:
        g_assert_not_reached();
    }
    while (qatomic_load_acquire(&late) < 0) {
        /* the answer is seen at once */
    }
    return late;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static void print_kind(Kind kind, int64_t *ns)
{
    unsigned n = options.samples;

    qsort(ns, n, sizeof(ns[0]), compare);
    printf("\"%s\": {\"p50_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.2f}, ",
           kind_name[kind], ns[n / 2] / 1e3, ns[n * 99 / 100] / 1e3, ns[n - 1] / 1e3);
}

static void measure(void)
{
    g_autofree int64_t *ns[KIND__MAX] = { };
    int64_t start;
    uint64_t served;
    unsigned i;
    Kind kind;

    for (kind = 0; kind < KIND__MAX; kind++) {
        ns[kind] = g_new0(int64_t, options.samples);
    }
    event_notifier_set(&server.queue);
    start = get_clock();
    served = qatomic_read(&server.served);
    for (i = 0; i < options.samples; i++) {
        for (kind = 0; kind < KIND__MAX; kind++) {
            ns[kind][i] = ask(kind);
            g_usleep(PAUSE_US);
        }
    }
    served = qatomic_read(&server.served) - served;
    printf("{");
    for (kind = 0; kind < KIND__MAX; kind++) {
        print_kind(kind, ns[kind]);
    }
    printf("\"iops\": %.0f}\n", served * 1e9 / (get_clock() - start));
}

static void open_null(void)
{
    server.blk = blk_new_open("json:{\"driver\":\"null-co\",\"size\":1073741824,"
                              "\"read-zeroes\":false}", NULL, NULL, 0, &error_fatal);
    server.buffer = qemu_memalign(BLOCK, BLOCK);
    qemu_iovec_init_buf(&server.qiov, server.buffer, BLOCK);
}

static unsigned number(const char *option, const char *text)
{
    unsigned value;

    if (qemu_strtoui(text, NULL, 10, &value) < 0) {
        error_report("--%s takes a number, not '%s'", option, text);
        exit(1);
    }
    return value;
}

static void parse(int argc, char **argv)
{
    static const struct option known[] = {
        { "mode", required_argument, NULL, 'm' },
        { "pass", required_argument, NULL, 'p' },
        { "samples", required_argument, NULL, 's' },
        { "cpus", required_argument, NULL, 'c' },
        { }
    };
    int c;

    while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (c == 'm') {
            options.mode = !strcmp(optarg, "busy") ? AIO_POLL_BUSY : AIO_POLL_ADAPTIVE;
        } else if (c == 'p') {
            options.pass = number("pass", optarg);
        } else if (c == 's') {
            options.samples = number("samples", optarg);
        } else if (c != 'c' || sscanf(optarg, "%d,%d", &options.cpu,
                                      &options.client_cpu) != 2) {
            error_printf("usage: answers [--mode busy|adaptive] [--pass REQUESTS] "
                         "[--samples N] [--cpus SERVER,CLIENT]\n");
            exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    qemu_init_main_loop(&error_fatal);
    module_call_init(MODULE_INIT_QOM);
    bdrv_init();

    server.ctx = aio_context_new(&error_fatal);
    aio_context_set_poll_params(server.ctx, 32768, 0, 0, &error_fatal);
    aio_context_set_poll_mode(server.ctx, options.mode);
    event_notifier_init(&server.queue, false);
    event_notifier_init(&server.other, false);
    qemu_event_init(&server.ready, false);
    qemu_thread_create(&server.thread, "server", run_server, NULL, QEMU_THREAD_JOINABLE);
    qemu_event_wait(&server.ready);
    open_null();

    pin(options.client_cpu);
    measure();

    aio_bh_schedule_oneshot(server.ctx, stop, NULL);
    qemu_thread_join(&server.thread);
    return 0;
}
