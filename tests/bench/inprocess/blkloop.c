/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blkloop: how fast the block layer is by itself. Threads, each with an
 * AioContext of its own as an IOThread has, send requests to a BlockBackend
 * through its public interface, a batch at a time: submit the batch in one
 * deferred section, poll until all of it has completed, again; or, with --refill,
 * submit another one where one completes. With --way fast
 * the interface is that of the fork's fast path, in place of blk_aio_*().
 *
 * All threads use one BlockBackend, as the virtqueues of a disk do, or with
 * --own-nodes one each, which share nothing: what is lost between the two is
 * what queues cost each other.
 *
 * It is built within the fork and within the unpatched base, from this source.
 */

#include "qemu/osdep.h"
#include <getopt.h>
#include <sched.h>
#include <sys/resource.h>
#include "block/aio.h"
#include "block/block.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/defer-call.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/memfd.h"
#include "qemu/module.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "system/block-backend.h"

#if __has_include("block/fast-path.h")
#include "block/fast-path.h"
#include "qemu/shared-memory.h"
#define HAVE_FAST_PATH
#endif

/* A prefetcher takes lines in pairs: what threads write is so far apart. */
#define APART 128

typedef struct Slot {
    struct Worker *worker;
    QEMUIOVector qiov;
    void *buf;
    bool busy;
#ifdef HAVE_FAST_PATH
    BlkFastRequest fast;
#endif
} Slot;

/* A thread. Set up by the main thread, which reads the results after join. */
typedef struct Worker {
    QemuThread thread;
    BlockBackend *blk;
    AioContext *ctx;
    Slot *slots;
    void *memory;
    size_t size;                /* of @memory */
    int cpu;                    /* -1: anywhere */
    bool refill;                /* what completes is submitted again */

    /* written by the thread for every request */
    QEMU_ALIGNED(APART) uint64_t random;
    uint64_t done;              /* requests completed, warm-up included */
    unsigned in_flight;

    /* written by the thread at its end */
    QEMU_ALIGNED(APART) uint64_t counted;
    int64_t ns;
    int64_t cpu_ns;             /* of the whole process */
    int ret;                    /* of the first request that failed */
} Worker;

static struct {
    const char *graph;
    unsigned threads;
    bool own_nodes;
    bool write;
    bool fast;
    bool refill;
    bool busy;
    unsigned batch;
    unsigned block_size;
    double seconds;
    uint64_t requests;          /* of each thread; 0: by time */
    int cpus[CPU_SETSIZE];
    unsigned n_cpus;
} opts = {
    .graph = "{\"driver\":\"raw\",\"file\":{\"driver\":\"null-co\","
             "\"size\":1073741824,\"read-zeroes\":false}}",
    .threads = 1,
    .batch = 32,
    .block_size = 4096,
    .seconds = 2,
};

/* Turns of the event loop between two looks at the clock, with --refill. */
#define REFILL_TURNS 64

static pthread_barrier_t start;
static uint64_t blocks;

/* xorshift64 (Marsaglia, 2003) */
static uint64_t next_block(Worker *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random % blocks;
}

static void submit(Slot *s);

static void account(Slot *s, int ret)
{
    Worker *w = s->worker;

    s->busy = false;
    w->in_flight--;
    w->done++;
    if (ret < 0 && !w->ret) {
        w->ret = ret;
    }
}

/* From the event loop. */
static void request_done(void *opaque, int ret)
{
    Slot *s = opaque;

    account(s, ret);
    if (s->worker->refill) {
        submit(s);
    }
}

#ifdef HAVE_FAST_PATH
static void fast_done(BlkFastRequest *fast, int ret)
{
    request_done(container_of(fast, Slot, fast), ret);
}

static void submit_fast(Slot *s, int64_t offset)
{
    int ret;

    s->fast.op = opts.write ? BLK_FAST_WRITE : BLK_FAST_READ;
    s->fast.flags = 0;
    s->fast.offset = offset;
    s->fast.bytes = opts.block_size;
    s->fast.qiov = &s->qiov;
    s->fast.cb = fast_done;
    ret = blk_fast_submit(s->worker->blk, &s->fast);
    if (ret != -EINPROGRESS) {
        account(s, ret);        /* run_batch() comes to it again */
    }
}
#else
static void submit_fast(Slot *s, int64_t offset)
{
    g_assert_not_reached();
}
#endif

static void submit(Slot *s)
{
    Worker *w = s->worker;
    int64_t offset = next_block(w) * opts.block_size;

    s->busy = true;
    w->in_flight++;
    if (opts.fast) {
        submit_fast(s, offset);
    } else if (opts.write) {
        blk_aio_pwritev(w->blk, offset, &s->qiov, 0, request_done, s);
    } else {
        blk_aio_preadv(w->blk, offset, &s->qiov, 0, request_done, s);
    }
}

static void run_batch(Worker *w)
{
    unsigned i;

    defer_call_begin();
    for (i = 0; i < opts.batch; i++) {
        if (!w->slots[i].busy) {
            submit(&w->slots[i]);
        }
    }
    defer_call_end();
    if (opts.refill) {
        for (i = 0; i < REFILL_TURNS && w->in_flight == opts.batch; i++) {
            aio_poll(w->ctx, true);
        }
        return;
    }
    while (w->in_flight) {
        aio_poll(w->ctx, true);
    }
}

/* What --refill has left in flight. */
static void drain(Worker *w)
{
    w->refill = false;
    while (w->in_flight) {
        aio_poll(w->ctx, true);
    }
}

/* CPU time of the process so far, with the kernel's for it, in ns. */
static int64_t cpu_ns(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000ll +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000ll;
}

static void run_for(Worker *w, double seconds)
{
    int64_t end = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + seconds * 1e9;

    while (qemu_clock_get_ns(QEMU_CLOCK_REALTIME) < end && !w->ret) {
        run_batch(w);
    }
}

static void *worker_thread(void *opaque)
{
    Worker *w = opaque;
    uint64_t before;

    rcu_register_thread();
    qemu_set_current_aio_context(w->ctx);
    if (w->cpu >= 0) {
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(w->cpu, &set);
        if (sched_setaffinity(0, sizeof(set), &set)) {
            error_report("cannot run on CPU %d: %s", w->cpu, strerror(errno));
            exit(1);
        }
    }
    if (!opts.requests) {
        run_for(w, opts.seconds / 4);       /* warm-up */
    }
    pthread_barrier_wait(&start);
    before = w->done;
    w->cpu_ns = cpu_ns();
    w->ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    if (opts.requests) {
        while (w->done < opts.requests && !w->ret) {
            run_batch(w);
        }
    } else {
        run_for(w, opts.seconds);
    }
    w->ns = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) - w->ns;
    w->cpu_ns = cpu_ns() - w->cpu_ns;
    w->counted = w->done - before;
    drain(w);
    rcu_unregister_thread();
    return NULL;
}

static BlockBackend *open_graph(void)
{
    g_autofree char *name = g_strdup_printf("json:%s", opts.graph);
    Error *err = NULL;
    BlockBackend *blk = blk_new_open(name, NULL, NULL,
                                     opts.write ? BDRV_O_RDWR : 0, &err);

    if (!blk) {
        error_report_err(err);
        exit(1);
    }
    return blk;
}

/* One piece for all requests, which a drive may be let transfer to. */
static void alloc_memory(Worker *w)
{
    int fd;

    w->size = ROUND_UP((size_t)opts.batch * opts.block_size,
                       qemu_real_host_page_size());
    w->memory = qemu_memfd_alloc("blkloop", w->size, 0, &fd, &error_fatal);
    memset(w->memory, 0x5a, w->size);
#ifdef HAVE_FAST_PATH
    shared_memory_add(w->memory, w->size, fd, 0);
#endif
    blk_register_buf(w->blk, w->memory, w->size, NULL);
}

static void worker_init(Worker *w, unsigned index, BlockBackend *blk)
{
    unsigned i;

    w->blk = blk;
    w->ctx = aio_context_new(&error_fatal);
#ifdef HAVE_FAST_PATH
    if (opts.busy) {
        aio_context_set_poll_mode(w->ctx, AIO_POLL_BUSY);
    }
#endif
    w->cpu = opts.n_cpus ? opts.cpus[index % opts.n_cpus] : -1;
    w->random = (index + 1) * 0x9e3779b97f4a7c15ull;
    w->refill = opts.refill;
    w->slots = g_new0(Slot, opts.batch);
    alloc_memory(w);
    for (i = 0; i < opts.batch; i++) {
        Slot *s = &w->slots[i];

        s->worker = w;
        s->buf = w->memory + (size_t)i * opts.block_size;
        qemu_iovec_init_buf(&s->qiov, s->buf, opts.block_size);
    }
}

static void worker_free(Worker *w)
{
    blk_unregister_buf(w->blk, w->memory, w->size);
    qemu_memfd_free(w->memory, w->size, -1);
    g_free(w->slots);
    aio_context_unref(w->ctx);
}

static void help(void)
{
    printf(
"Usage: blkloop [OPTION]...\n"
"Sends requests to a BlockBackend from threads of its own, and prints JSON.\n"
"  --graph JSON       the block graph, as for blockdev-add (default: raw over\n"
"                     null-co)\n"
"  --threads N        (default 1)\n"
"  --own-nodes        a graph for each thread, not one for all\n"
"  --write            write, not read\n"
"  --way WAY          ordinary (default) or fast; the base has no fast path\n"
"  --batch N          requests in flight, submitted together (default 32)\n"
"  --busy             never sleep (poll-mode=busy); the base has no such mode\n"
"  --refill           submit a new one as soon as one has completed\n"
"  --block-size N     bytes of a request (default 4k)\n"
"  --seconds S        measured, after a quarter as warm-up (default 2)\n"
"  --requests N       of each thread, in place of a time; no warm-up\n"
"  --cpus N[,N...]    CPUs of the threads, in turn\n"
"Keys: threads, batch, requests, seconds (of the slowest thread), iops (the sum\n"
"of the threads'), ns_per_request (a thread's, mean), cpu_ns_per_request (of the\n"
"process, with the kernel's work for it).\n");
}

static uint64_t number(const char *option, const char *text, uint64_t least)
{
    uint64_t value;

    if (qemu_strtosz(text, NULL, &value) || value < least ||
        value > UINT32_MAX) {
        error_report("--%s takes a number from %" PRIu64 ", not '%s'",
                     option, least, text);
        exit(1);
    }
    return value;
}

static void parse(int argc, char **argv)
{
    enum {
        OPT_GRAPH, OPT_THREADS, OPT_OWN_NODES, OPT_WRITE, OPT_BATCH,
        OPT_WAY, OPT_BUSY, OPT_REFILL, OPT_BLOCK_SIZE, OPT_SECONDS, OPT_REQUESTS, OPT_CPUS, OPT_HELP,
    };
    static const struct option options[] = {
        { "graph", required_argument, NULL, OPT_GRAPH },
        { "threads", required_argument, NULL, OPT_THREADS },
        { "own-nodes", no_argument, NULL, OPT_OWN_NODES },
        { "write", no_argument, NULL, OPT_WRITE },
        { "way", required_argument, NULL, OPT_WAY },
        { "busy", no_argument, NULL, OPT_BUSY },
        { "refill", no_argument, NULL, OPT_REFILL },
        { "batch", required_argument, NULL, OPT_BATCH },
        { "block-size", required_argument, NULL, OPT_BLOCK_SIZE },
        { "seconds", required_argument, NULL, OPT_SECONDS },
        { "requests", required_argument, NULL, OPT_REQUESTS },
        { "cpus", required_argument, NULL, OPT_CPUS },
        { "help", no_argument, NULL, OPT_HELP },
        { },
    };
    char **cpu, **list;
    int c, at;

    while ((c = getopt_long(argc, argv, "", options, &at)) != -1) {
        const char *name = c == '?' ? NULL : options[at].name;

        switch (c) {
        case OPT_GRAPH:
            opts.graph = optarg;
            break;
        case OPT_THREADS:
            opts.threads = number(name, optarg, 1);
            break;
        case OPT_OWN_NODES:
            opts.own_nodes = true;
            break;
        case OPT_WRITE:
            opts.write = true;
            break;
        case OPT_WAY:
            opts.fast = g_str_equal(optarg, "fast");
            if (!opts.fast && !g_str_equal(optarg, "ordinary")) {
                error_report("--way is ordinary or fast, not '%s'", optarg);
                exit(1);
            }
#ifndef HAVE_FAST_PATH
            if (opts.fast) {
                error_report("--way fast: this is the unpatched base");
                exit(1);
            }
#endif
            break;
        case OPT_BUSY:
#ifndef HAVE_FAST_PATH
            error_report("--busy: this is the unpatched base");
            exit(1);
#endif
            opts.busy = true;
            break;
        case OPT_REFILL:
            opts.refill = true;
            break;
        case OPT_BATCH:
            opts.batch = number(name, optarg, 1);
            break;
        case OPT_BLOCK_SIZE:
            opts.block_size = number(name, optarg, 512);
            break;
        case OPT_REQUESTS:
            opts.requests = number(name, optarg, 1);
            break;
        case OPT_SECONDS:
            if (qemu_strtod_finite(optarg, NULL, &opts.seconds) ||
                opts.seconds <= 0) {
                error_report("--seconds takes a positive number");
                exit(1);
            }
            break;
        case OPT_CPUS:
            list = g_strsplit(optarg, ",", CPU_SETSIZE);
            for (cpu = list; *cpu; cpu++) {
                opts.cpus[opts.n_cpus++] = number(name, *cpu, 0);
            }
            g_strfreev(list);
            break;
        case OPT_HELP:
            help();
            exit(0);
        default:
            exit(1);
        }
    }
    if (optind < argc) {
        error_report("'%s' is no option; see --help", argv[optind]);
        exit(1);
    }
}

static void report(const Worker *workers)
{
    uint64_t requests = 0;
    double iops = 0, ns_per_request = 0, slowest = 0, cpu = 0;
    unsigned i;

    for (i = 0; i < opts.threads; i++) {
        const Worker *w = &workers[i];

        if (w->ret) {
            error_report("a request failed: %s", strerror(-w->ret));
            exit(1);
        }
        requests += w->counted;
        iops += w->counted * 1e9 / w->ns;
        ns_per_request += (double)w->ns / w->counted / opts.threads;
        slowest = MAX(slowest, w->ns / 1e9);
        cpu = MAX(cpu, w->cpu_ns);
    }
    printf("{\"threads\": %u, \"batch\": %u, \"requests\": %" PRIu64 ", "
           "\"seconds\": %.3f, \"iops\": %.0f, \"ns_per_request\": %.2f, "
           "\"cpu_ns_per_request\": %.2f}\n",
           opts.threads, opts.batch, requests, slowest, iops, ns_per_request,
           cpu / requests);
}

int main(int argc, char **argv)
{
    g_autofree BlockBackend **blks = NULL;
    unsigned n_blks, i;
    Worker *workers;

    error_init(argv[0]);
    parse(argc, argv);
    module_call_init(MODULE_INIT_QOM);
    bdrv_init();
    qemu_init_main_loop(&error_fatal);

    n_blks = opts.own_nodes ? opts.threads : 1;
    blks = g_new(BlockBackend *, n_blks);
    for (i = 0; i < n_blks; i++) {
        blks[i] = open_graph();
    }
    blocks = blk_getlength(blks[0]) / opts.block_size;
    if (!blocks) {
        error_report("the image is smaller than a request");
        exit(1);
    }

    /* What opening has left to bottom halves, the fast path's resolution too. */
    while (aio_poll(qemu_get_aio_context(), false)) {
    }

    workers = qemu_memalign(APART, opts.threads * sizeof(*workers));
    memset(workers, 0, opts.threads * sizeof(*workers));
    pthread_barrier_init(&start, NULL, opts.threads);
    for (i = 0; i < opts.threads; i++) {
        worker_init(&workers[i], i, blks[i % n_blks]);
    }
    for (i = 0; i < opts.threads; i++) {
        g_autofree char *name = g_strdup_printf("blkloop %u", i);

        qemu_thread_create(&workers[i].thread, name, worker_thread,
                           &workers[i], QEMU_THREAD_JOINABLE);
    }
    for (i = 0; i < opts.threads; i++) {
        qemu_thread_join(&workers[i].thread);
    }
    report(workers);

    for (i = 0; i < opts.threads; i++) {
        worker_free(&workers[i]);
    }
    for (i = 0; i < n_blks; i++) {
        blk_unref(blks[i]);
    }
    qemu_vfree(workers);
    bdrv_drain_all();
    return 0;
}
