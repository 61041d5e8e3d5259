/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nvme-target: options and the loop that serves.
 */
#include "target.h"
#include "options.h"
#include <getopt.h>
#include <sys/prctl.h>
#include "qemu/cutils.h"
#include "qemu/timer.h"

#define SOCKETS_NS (100 * SCALE_US)     /* between looks at the sockets under load */
#define BUSY_NS (2 * SCALE_MS)          /* without work, before the first sleep */
#define IDLE_NS (100 * SCALE_MS)        /* without work, before longer ones */
#define SHORT_SLEEP_NS (50 * SCALE_US)
#define LONG_SLEEP_NS (1 * SCALE_MS)
#define CHECK_NS (10 * SCALE_MS)        /* between looks at unused doorbells */

Target target;

static volatile sig_atomic_t stop;
static sigset_t unblocked;              /* while the loop sleeps */

int64_t clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NANOSECONDS_PER_SECOND + ts.tv_nsec;
}

static void on_signal(int signal)
{
    stop = 1;
}

/* The sockets, which may wait for as long as @sleep_ns; -1: for ever. */
static void serve_sockets(Target *t, int64_t sleep_ns)
{
    struct pollfd fds[CONTROL_FDS + 1] = {
        { .fd = device_fd(t), .events = POLLIN },
    };
    struct timespec limit = {
        .tv_sec = sleep_ns / NANOSECONDS_PER_SECOND,
        .tv_nsec = sleep_ns % NANOSECONDS_PER_SECOND,
    };
    unsigned n = control_fds(t, fds + 1);

    if (ppoll(fds, n + 1, sleep_ns < 0 ? NULL : &limit, &unblocked) <= 0) {
        return;
    }
    if (fds[0].revents) {
        device_serve(t, fds[0].revents & POLLHUP);
    }
    control_serve(t, fds + 1, n);
}

/*
 * How long the loop may sleep.  A doorbell in memory wakes nobody, so that it is
 * looked at now and then, while one that comes as a message does.
 */
static int64_t sleep_for(Target *t, int64_t idle, int64_t due)
{
    int64_t most = idle < IDLE_NS ? SHORT_SLEEP_NS : LONG_SLEEP_NS;
    int64_t now;

    if (!t->running || !t->map_doorbells) {
        most = -1;
    }
    if (due != INT64_MAX) {
        now = clock_ns();
        return MIN(due > now ? due - now : 0, most < 0 ? INT64_MAX : most);
    }
    return most;
}

/* What need not be done in each turn.  @idle: ns since there was work. */
static void serve_rarely(Target *t, int64_t now, int64_t idle, bool spinning)
{
    static int64_t checked;
    int64_t due = t->n_pending ? pending_run(t) : INT64_MAX;

    if (now - checked >= CHECK_NS) {
        checked = now;
        queues_check_doorbells(t);
    }
    events_flush(t);
    queues_interrupt(t);
    if (spinning) {
        serve_sockets(t, 0);
        return;
    }
    queues_before_sleep(t);
    serve_sockets(t, t->running && queues_poll(t) ? 0 : sleep_for(t, idle, due));
}

static void serve(Target *t)
{
    int64_t last_work = clock_ns(), last_sockets = 0;
    bool worked_lately = false, spinning = false;
    unsigned turn = 0;

    while (!stop) {
        bool worked = t->running && queues_poll(t);
        int64_t now;

        worked_lately |= worked;
        if (++turn % 64 && (worked || spinning)) {
            continue;           /* reading the clock would take too long */
        }
        now = clock_ns();
        if (worked_lately) {
            worked_lately = false;
            last_work = now;
        }
        spinning = t->n_live > 1 && t->map_doorbells &&
                   (t->busy || now - last_work < BUSY_NS);
        if (now - last_sockets >= SOCKETS_NS || !(worked || spinning)) {
            last_sockets = now;
            serve_rarely(t, now, now - last_work, spinning);
        }
    }
}

/* Signals come while the loop looks at its sockets, and at no other time. */
static void setup_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal };
    sigset_t blocked;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, &unblocked);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    memory_catch_sigbus();
}

static void fail_if(const char *option, char *error)
{
    if (error) {
        die("--%s: %s", option, error);
    }
}

static void parse_option(Target *t, int c, const char *name, const char *value)
{
    switch (c) {
    case 's':
        t->socket_path = value;
        break;
    case 'C':
        t->control_path = value;
        break;
    case 'n':
        fail_if(name, namespace_add(t, value));
        break;
    case 'q':
        t->max_queues = option_number(name, value, 1, TARGET_MAX_QUEUES);
        break;
    case 'e':
        t->max_entries = option_number(name, value, 2, 65536);
        break;
    case 'm':
        t->mdts = option_number(name, value, 1, TARGET_MAX_MDTS);
        break;
    case 'z':
        t->wzsl = option_number(name, value, 1, TARGET_MAX_MDTS);
        break;
    case 'd':
        t->dmrsl = option_number(name, value, 1, UINT32_MAX);
        break;
    case 't':
        t->ready_timeout = option_number(name, value, 1, 255);
        break;
    case 'c':
        option_cpu(value);
        break;
    case 'w':
        if (strcmp(value, "on") && strcmp(value, "off")) {
            die("--vwc takes on or off, not '%s'", value);
        }
        t->vwc = !strcmp(value, "on");
        break;
    case 'f': {
        g_auto(GStrv) words = g_strsplit(value, " ", -1);

        fail_if(name, fault_add(t, words));
        break;
    }
    }
}

static void parse(Target *t, int argc, char **argv)
{
    int shadow = 0, sgl = 0, no_map = 0, busy = 0, c, i = 0;
    const struct option known[] = {
        { "socket", required_argument, NULL, 's' },
        { "control", required_argument, NULL, 'C' },
        { "namespace", required_argument, NULL, 'n' },
        { "queues", required_argument, NULL, 'q' },
        { "entries", required_argument, NULL, 'e' },
        { "mdts", required_argument, NULL, 'm' },
        { "wzsl", required_argument, NULL, 'z' },
        { "dmrsl", required_argument, NULL, 'd' },
        { "ready-timeout", required_argument, NULL, 't' },
        { "cpu", required_argument, NULL, 'c' },
        { "vwc", required_argument, NULL, 'w' },
        { "fault", required_argument, NULL, 'f' },
        { "shadow-doorbells", no_argument, &shadow, 1 },
        { "sgl", no_argument, &sgl, 1 },
        { "no-doorbell-map", no_argument, &no_map, 1 },
        { "busy", no_argument, &busy, 1 },
        { }
    };

    while ((c = getopt_long(argc, argv, "", known, &i)) != -1) {
        if (c == '?') {
            die("the options are in tests/nvme-target/README.md");
        }
        parse_option(t, c, known[i].name, optarg);
    }
    if (!t->socket_path || optind < argc) {
        die("needs --socket PATH, and takes options only");
    }
    t->shadow_doorbells = shadow;
    t->sgl = sgl;
    t->map_doorbells = !no_map;
    t->busy = busy;
}

int main(int argc, char **argv)
{
    Target *t = &target;

    t->max_queues = 8;
    t->max_entries = 1024;
    t->mdts = 5;
    t->ready_timeout = 20;      /* times 500 ms */
    t->vwc = true;
    t->max_regions = TARGET_MAX_REGIONS;
    t->smart.temperature = 300;
    t->smart.available_spare = 100;
    t->smart.available_spare_threshold = 10;
    QTAILQ_INIT(&t->pending);
    parse(t, argc, argv);
    if (!t->n_ns) {
        fail_if("namespace", namespace_add(t, "null"));
    }

    setup_signals();
    prctl(PR_SET_TIMERSLACK, 1000);
    registers_init(t);
    if (!device_init(t)) {
        die("--socket: cannot serve %s: %s", t->socket_path, strerror(errno));
    }
    if (!control_init(t)) {
        die("--control: cannot listen on %s: %s", t->control_path, strerror(errno));
    }
    serve(t);
    device_destroy(t);
    if (t->control_path) {
        unlink(t->control_path);
    }
    return 0;
}
