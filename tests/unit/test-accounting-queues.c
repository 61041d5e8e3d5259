/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * I/O accounting by several threads, each with its queue or without one, against
 * a model that counts the same in one place.  Meant for thread sanitizer too.
 *
 * Time is the test's: the accounting's clock is the virtual one, as under qtest,
 * and a request takes what its cookie is made to say.
 */

#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/accounting.h"
#include "qapi/error.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "system/cpu-timers.h"
#include "system/qtest.h"

#define N_QUEUES 4          /* threads with a home */
#define N_THREADS 6         /* the others share home 0 */
#define BYTES 4096          /* each request's */

static int64_t now_ns;      /* atomic */

int64_t cpu_get_clock(void)
{
    return qatomic_read_i64(&now_ns);
}

static void advance(int64_t ns)
{
    qatomic_set_i64(&now_ns, now_ns + ns);
}

/* Requests of each of the stress tests' threads. */
static unsigned stress_requests(void)
{
    const char *text = getenv("MQ_STRESS_REQUESTS");

    return text ? g_ascii_strtoull(text, NULL, 0) : 1000000;
}

static BlockAcctStats *stats_new(void)
{
    BlockAcctStats *stats = g_new0(BlockAcctStats, 1);

    qtest_allowed = true;   /* chooses the clock */
    block_acct_init(stats);
    qtest_allowed = false;
    return stats;
}

static void stats_free(BlockAcctStats *stats)
{
    block_acct_cleanup(stats);
    g_free(stats);
}

static void account(BlockAcctStats *stats, enum BlockAcctType type,
                    int64_t latency_ns, bool failed)
{
    BlockAcctCookie cookie;

    block_acct_start(stats, &cookie, BYTES, type);
    cookie.start_time_ns -= latency_ns;
    (failed ? block_acct_failed : block_acct_done)(stats, &cookie);
    g_assert_cmpint(cookie.type, ==, BLOCK_ACCT_NONE);
}

static uint64List boundaries_a[] = {
    { .next = &boundaries_a[1], .value = 10 },
    { .next = &boundaries_a[2], .value = 200 },
    { .next = &boundaries_a[3], .value = 3000 },
    { .value = 40000 },
};

static uint64List boundaries_b[] = {
    { .value = 777 },
};

/* The bin that the definition gives. */
static int model_bin(uint64List *boundaries, int64_t latency_ns)
{
    int bin = 0;

    for (; boundaries; boundaries = boundaries->next) {
        bin += latency_ns >= boundaries->value;
    }
    return bin;
}

/* What threads were told to account, counted without what is tested. */
typedef struct Model {
    uint64_t ops, failed, invalid, merged, total_time, timed;
    uint64_t min, max;
    uint64_t bins[ARRAY_SIZE(boundaries_a) + 1];
} Model;

typedef struct Load {
    QemuThread thread;
    BlockAcctStats *stats;
    AioContext *ctx;        /* or NULL: no home */
    unsigned seed;
    Model model[BLOCK_MAX_IOTYPE];
} Load;

static void *load_thread(void *opaque)
{
    Load *load = opaque;
    GRand *rand = g_rand_new_with_seed(load->seed);
    unsigned i, n = stress_requests();

    if (load->ctx) {
        qemu_set_current_aio_context(load->ctx);
    }
    for (i = 0; i < n; i++) {
        unsigned dice = g_rand_int(rand);
        enum BlockAcctType type = 1 + dice % (BLOCK_MAX_IOTYPE - 1);
        Model *m = &load->model[type];
        /* 1 to 65536, each magnitude as likely, and on boundaries */
        int64_t latency = dice & 0x100 ? 1 << (dice >> 28) : 1 + (dice >> 16);
        bool failed = (dice >> 9) % 8 == 0;

        if (dice & 0x200) {
            latency = boundaries_a[(dice >> 10) % ARRAY_SIZE(boundaries_a)].value;
        }
        account(load->stats, type, latency, failed);
        m->ops += !failed;
        m->failed += failed;
        m->bins[model_bin(boundaries_a, latency)]++;
        if (!failed || load->stats->account_failed) {
            m->total_time += latency;
            m->timed++;
            m->min = m->timed == 1 ? latency : MIN(m->min, latency);
            m->max = MAX(m->max, latency);
        }
        if (i % 16 == 3) {
            block_acct_invalid(load->stats, type);
            m->invalid++;
        }
        if (i % 16 == 7) {
            block_acct_merge_done(load->stats, type, 5);
            m->merged += 5;
        }
    }
    g_rand_free(rand);
    return NULL;
}

static void loads_start(Load *loads, BlockAcctStats *stats)
{
    int i;

    for (i = 0; i < N_THREADS; i++) {
        loads[i] = (Load) {
            .stats = stats,
            .ctx = i < N_QUEUES ? aio_context_new(&error_abort) : NULL,
            .seed = g_test_rand_int(),
        };
    }
    for (i = 0; i < N_THREADS; i++) {
        qemu_thread_create(&loads[i].thread, "load", load_thread, &loads[i],
                           QEMU_THREAD_JOINABLE);
    }
}

static void loads_join(Load *loads, Model *sum)
{
    int i, type, bin;

    for (i = 0; i < N_THREADS; i++) {
        qemu_thread_join(&loads[i].thread);
        if (loads[i].ctx) {
            aio_context_unref(loads[i].ctx);
        }
        for (type = 0; type < BLOCK_MAX_IOTYPE; type++) {
            Model *m = &loads[i].model[type], *s = &sum[type];

            s->min = s->timed ? MIN(s->min, m->min) : m->min;
            s->max = MAX(s->max, m->max);
            s->ops += m->ops;
            s->failed += m->failed;
            s->invalid += m->invalid;
            s->merged += m->merged;
            s->total_time += m->total_time;
            s->timed += m->timed;
            for (bin = 0; bin < ARRAY_SIZE(m->bins); bin++) {
                s->bins[bin] += m->bins[bin];
            }
        }
    }
}

static void check_counters(BlockAcctStats *stats, const Model *model)
{
    int type;

    QEMU_LOCK_GUARD(&stats->lock);
    block_acct_collect(stats);
    for (type = 0; type < BLOCK_MAX_IOTYPE; type++) {
        const Model *m = &model[type];

        g_assert_cmpuint(stats->nr_ops[type], ==, m->ops);
        g_assert_cmpuint(stats->nr_bytes[type], ==, m->ops * BYTES);
        g_assert_cmpuint(stats->failed_ops[type], ==, m->failed);
        g_assert_cmpuint(stats->invalid_ops[type], ==, m->invalid);
        g_assert_cmpuint(stats->merged[type], ==, m->merged);
        g_assert_cmpuint(stats->total_time_ns[type], ==, m->total_time);
    }
}

static void check_bins(BlockAcctStats *stats, int type, const Model *m)
{
    BlockLatencyHistogram *hist = &stats->latency_histogram[type];
    int bin;

    QEMU_LOCK_GUARD(&stats->lock);
    block_acct_collect(stats);
    g_assert_cmpint(hist->nbins, ==, ARRAY_SIZE(m->bins));
    for (bin = 0; bin < hist->nbins; bin++) {
        g_assert_cmpuint(hist->bins[bin], ==, m->bins[bin]);
    }
}

static void check_interval(BlockAcctStats *stats, BlockAcctTimedStats *s, int type,
                           const Model *m)
{
    uint64_t elapsed;

    QEMU_LOCK_GUARD(&stats->lock);
    block_acct_collect(stats);
    g_assert_cmpuint(timed_average_min(&s->latency[type]), ==, m->min);
    g_assert_cmpuint(timed_average_max(&s->latency[type]), ==, m->max);
    g_assert_cmpuint(timed_average_avg(&s->latency[type]), ==,
                     m->timed ? m->total_time / m->timed : 0);
    g_assert_cmpuint(timed_average_sum(&s->latency[type], &elapsed), ==,
                     m->total_time);
}

/* Reads all the time, as query-blockstats does, and looks for what cannot be. */
typedef struct Reader {
    QemuThread thread;
    BlockAcctStats *stats;
    bool stop;              /* atomic */
    bool whole_histograms;  /* have been there from the first request on */
    unsigned reads;
} Reader;

static void *reader_thread(void *opaque)
{
    Reader *r = opaque;
    BlockAcctStats *stats = r->stats;
    uint64_t ops[BLOCK_MAX_IOTYPE] = {};

    while (!qatomic_read(&r->stop) || r->reads == 0) {
        int type, bin;

        QEMU_LOCK_GUARD(&stats->lock);
        block_acct_collect(stats);
        for (type = 0; type < BLOCK_MAX_IOTYPE; type++) {
            BlockLatencyHistogram *hist = &stats->latency_histogram[type];
            uint64_t all = stats->nr_ops[type] + stats->failed_ops[type];
            uint64_t in_bins = 0;

            g_assert_cmpuint(stats->nr_ops[type], >=, ops[type]);
            ops[type] = stats->nr_ops[type];
            g_assert_cmpuint(stats->nr_bytes[type], ==, ops[type] * BYTES);
            for (bin = 0; bin < hist->nbins; bin++) {
                in_bins += hist->bins[bin];
            }
            g_assert_cmpuint(in_bins, <=, all);
            if (r->whole_histograms) {
                g_assert_cmpuint(in_bins, ==, all);
            }
        }
        r->reads++;
    }
    return NULL;
}

static void reader_start(Reader *r, BlockAcctStats *stats, bool whole_histograms)
{
    *r = (Reader) { .stats = stats, .whole_histograms = whole_histograms };
    qemu_thread_create(&r->thread, "reader", reader_thread, r,
                       QEMU_THREAD_JOINABLE);
}

static void reader_join(Reader *r)
{
    qatomic_set(&r->stop, true);
    qemu_thread_join(&r->thread);
    g_test_message("%u reads", r->reads);
}

/* Counters of all queues add up, also while they are read. */
static void test_sums(void)
{
    BlockAcctStats *stats = stats_new();
    Load loads[N_THREADS];
    Model sum[BLOCK_MAX_IOTYPE] = {};
    Reader reader;

    reader_start(&reader, stats, false);
    loads_start(loads, stats);
    loads_join(loads, sum);
    reader_join(&reader);
    check_counters(stats, sum);
    g_assert_false(stats->queues.detailed);
    stats_free(stats);
}

/* So do bins, and minima, maxima and averages of intervals. */
static void test_detailed_sums(void)
{
    BlockAcctStats *stats = stats_new();
    Load loads[N_THREADS];
    Model sum[BLOCK_MAX_IOTYPE] = {};
    BlockAcctTimedStats *s;
    Reader reader;
    int type;

    block_acct_setup(stats, ON_OFF_AUTO_AUTO, ON_OFF_AUTO_OFF);
    block_acct_add_interval(stats, 60);
    block_acct_add_interval(stats, 3600);
    for (type = 0; type < BLOCK_MAX_IOTYPE; type++) {
        g_assert_cmpint(block_latency_histogram_set(stats, type, boundaries_a),
                        ==, 0);
    }
    reader_start(&reader, stats, true);
    loads_start(loads, stats);
    loads_join(loads, sum);
    reader_join(&reader);

    check_counters(stats, sum);
    s = block_acct_interval_next(stats, NULL);
    g_assert_cmpuint(s->interval_length, ==, 3600);     /* the last added first */
    for (type = 0; type < BLOCK_MAX_IOTYPE; type++) {
        check_bins(stats, type, &sum[type]);
        check_interval(stats, s, type, &sum[type]);
    }
    s = block_acct_interval_next(stats, s);
    g_assert_cmpuint(s->interval_length, ==, 60);
    g_assert_null(block_acct_interval_next(stats, s));
    stats_free(stats);
}

typedef struct Setter {
    QemuThread thread;
    BlockAcctStats *stats;
    bool stop;              /* atomic */
} Setter;

static void *setter_thread(void *opaque)
{
    Setter *setter = opaque;
    BlockAcctStats *stats = setter->stats;
    unsigned i;

    for (i = 0; !qatomic_read(&setter->stop); i++) {
        enum BlockAcctType type = 1 + i % (BLOCK_MAX_IOTYPE - 1);

        block_latency_histogram_set(stats, type, boundaries_a);
        block_latency_histogram_set(stats, type, boundaries_b);
        if (i % 8 == 0) {
            block_latency_histograms_clear(stats);
        }
        if (i < 4) {
            block_acct_add_interval(stats, 1 + i);
        }
        g_usleep(50);
    }
    return NULL;
}

/*
 * Histograms and intervals come and go under load, and no counter is lost.  Those
 * set last have all that came after.
 */
static void test_reconfigured(void)
{
    BlockAcctStats *stats = stats_new();
    Setter setter = { .stats = stats };
    Load loads[N_THREADS];
    Model sum[BLOCK_MAX_IOTYPE] = {}, last[BLOCK_MAX_IOTYPE] = {};
    Reader reader;
    int type;

    reader_start(&reader, stats, false);
    qemu_thread_create(&setter.thread, "setter", setter_thread, &setter,
                       QEMU_THREAD_JOINABLE);
    loads_start(loads, stats);
    loads_join(loads, sum);
    qatomic_set(&setter.stop, true);
    qemu_thread_join(&setter.thread);
    reader_join(&reader);
    check_counters(stats, sum);

    block_acct_add_interval(stats, 9);
    for (type = 0; type < BLOCK_MAX_IOTYPE; type++) {
        block_latency_histogram_set(stats, type, boundaries_a);
    }
    loads_start(loads, stats);
    loads_join(loads, last);
    for (type = 0; type < BLOCK_MAX_IOTYPE; type++) {
        check_bins(stats, type, &last[type]);
        check_interval(stats, block_acct_interval_next(stats, NULL), type,
                       &last[type]);
    }
    stats_free(stats);
}

/* A thread that accounts a request when told. */
typedef struct Worker {
    QemuThread thread;
    QemuSemaphore go, done;
    BlockAcctStats *stats;
    AioContext *ctx;
    enum BlockAcctType type;    /* NONE: end */
    int64_t latency_ns;
    bool failed;
} Worker;

static void *worker_thread(void *opaque)
{
    Worker *w = opaque;

    if (w->ctx) {
        qemu_set_current_aio_context(w->ctx);
    }
    for (;;) {
        qemu_sem_wait(&w->go);
        if (w->type == BLOCK_ACCT_NONE) {
            return NULL;
        }
        account(w->stats, w->type, w->latency_ns, w->failed);
        qemu_sem_post(&w->done);
    }
}

static void workers_start(Worker *w, BlockAcctStats *stats)
{
    int i;

    for (i = 0; i < N_THREADS; i++, w++) {
        *w = (Worker) { .stats = stats };
        w->ctx = i < N_QUEUES ? aio_context_new(&error_abort) : NULL;
        qemu_sem_init(&w->go, 0);
        qemu_sem_init(&w->done, 0);
        qemu_thread_create(&w->thread, "worker", worker_thread, w,
                           QEMU_THREAD_JOINABLE);
    }
}

static void work(Worker *w, enum BlockAcctType type, int64_t latency_ns, bool failed)
{
    w->type = type;
    w->latency_ns = latency_ns;
    w->failed = failed;
    qemu_sem_post(&w->go);
    qemu_sem_wait(&w->done);
}

static void workers_join(Worker *w)
{
    int i;

    for (i = 0; i < N_THREADS; i++, w++) {
        w->type = BLOCK_ACCT_NONE;
        qemu_sem_post(&w->go);
        qemu_thread_join(&w->thread);
        if (w->ctx) {
            aio_context_unref(w->ctx);
        }
        qemu_sem_destroy(&w->go);
        qemu_sem_destroy(&w->done);
    }
}

static void check_same(BlockAcctStats *stats, BlockAcctTimedStats *s,
                       enum BlockAcctType type, const TimedAverage *one)
{
    /* a copy: whoever reads a TimedAverage, changes it */
    TimedAverage ta = *one;
    uint64_t sum, elapsed;

    QEMU_LOCK_GUARD(&stats->lock);
    block_acct_collect(stats);
    g_assert_cmpuint(timed_average_min(&s->latency[type]), ==,
                     timed_average_min(&ta));
    g_assert_cmpuint(timed_average_max(&s->latency[type]), ==,
                     timed_average_max(&ta));
    g_assert_cmpuint(timed_average_avg(&s->latency[type]), ==,
                     timed_average_avg(&ta));
    sum = timed_average_sum(&ta, &elapsed);
    g_assert_cmpfloat(block_acct_queue_depth(s, type), ==, (double)sum / elapsed);
}

/* An interval's values are those of one TimedAverage that has seen every request. */
static void test_intervals_as_one(void)
{
    BlockAcctStats *stats = stats_new();
    Worker w[N_THREADS];
    TimedAverage one[2];
    BlockAcctTimedStats *s[2] = {};
    int n_intervals = 0;
    unsigned step;

    workers_start(w, stats);
    for (step = 0; step < 4000; step++) {
        Worker *who = &w[g_test_rand_int_range(0, N_THREADS)];
        int64_t latency = g_test_rand_int_range(1, 1000000);
        int i;

        if (step == 100 || step == 700) {   /* 3 s, 2 s */
            i = n_intervals++;
            block_acct_add_interval(stats, 3 - i);
            timed_average_init(&one[i], QEMU_CLOCK_VIRTUAL,
                               (3 - i) * (uint64_t)NANOSECONDS_PER_SECOND);
            s[i] = block_acct_interval_next(stats, NULL);
        }
        /* now and then exactly half a period, or several */
        advance(g_test_rand_bit() ? g_test_rand_int_range(0, NANOSECONDS_PER_SECOND)
                : step % 16 == 0 ? 2 * NANOSECONDS_PER_SECOND
                : step % 64 == 1 ? 9 * NANOSECONDS_PER_SECOND : 0);
        if (g_test_rand_int_range(0, 4)) {
            work(who, BLOCK_ACCT_WRITE, latency, false);
            for (i = 0; i < n_intervals; i++) {
                timed_average_account(&one[i], latency);
            }
        }
        if (g_test_rand_bit()) {
            for (i = 0; i < n_intervals; i++) {
                check_same(stats, s[i], BLOCK_ACCT_WRITE, &one[i]);
            }
        }
    }
    workers_join(w);
    stats_free(stats);
}

/* The last access is the last of any queue; some failures and errors are none. */
static void test_idle_time(void)
{
    BlockAcctStats *stats = stats_new();
    Worker w[N_THREADS];
    int64_t last;

    advance(NANOSECONDS_PER_SECOND);
    workers_start(w, stats);
    work(&w[1], BLOCK_ACCT_READ, 5, false);
    advance(100);
    work(&w[N_THREADS - 1], BLOCK_ACCT_READ, 5, false);
    last = cpu_get_clock();
    advance(10);
    g_assert_cmpint(block_acct_idle_time_ns(stats), ==, 10);

    block_acct_setup(stats, ON_OFF_AUTO_OFF, ON_OFF_AUTO_OFF);
    work(&w[2], BLOCK_ACCT_READ, 5, true);
    block_acct_invalid(stats, BLOCK_ACCT_READ);
    g_assert_cmpint(block_acct_idle_time_ns(stats), ==, 10);
    qemu_mutex_lock(&stats->lock);
    block_acct_collect(stats);
    g_assert_cmpint(stats->last_access_time_ns, ==, last);
    g_assert_cmpuint(stats->failed_ops[BLOCK_ACCT_READ], ==, 1);
    g_assert_cmpuint(stats->total_time_ns[BLOCK_ACCT_READ], ==, 10);
    qemu_mutex_unlock(&stats->lock);

    block_acct_setup(stats, ON_OFF_AUTO_AUTO, ON_OFF_AUTO_ON);
    work(&w[2], BLOCK_ACCT_READ, 5, true);
    g_assert_cmpint(block_acct_idle_time_ns(stats), ==, 0);
    advance(1);
    block_acct_setup(stats, ON_OFF_AUTO_ON, ON_OFF_AUTO_AUTO);
    block_acct_invalid(stats, BLOCK_ACCT_READ);
    g_assert_cmpint(block_acct_idle_time_ns(stats), ==, 0);
    workers_join(w);
    stats_free(stats);
}

/* Boundaries must ascend; what is refused changes nothing. */
static void test_boundaries(void)
{
    BlockAcctStats *stats = stats_new();
    uint64List same[] = { { .next = &same[1], .value = 7 }, { .value = 7 } };
    uint64List zero = { .value = 0 };
    BlockLatencyHistogram *hist = &stats->latency_histogram[BLOCK_ACCT_READ];

    block_latency_histogram_set(stats, BLOCK_ACCT_READ, boundaries_b);
    account(stats, BLOCK_ACCT_READ, 776, false);
    account(stats, BLOCK_ACCT_READ, 777, false);
    account(stats, BLOCK_ACCT_READ, 778, true);
    g_assert_cmpint(block_latency_histogram_set(stats, BLOCK_ACCT_READ, NULL),
                    ==, -EINVAL);
    g_assert_cmpint(block_latency_histogram_set(stats, BLOCK_ACCT_READ, same),
                    ==, -EINVAL);
    g_assert_cmpint(block_latency_histogram_set(stats, BLOCK_ACCT_READ, &zero),
                    ==, -EINVAL);
    qemu_mutex_lock(&stats->lock);
    block_acct_collect(stats);
    g_assert_cmpint(hist->nbins, ==, 2);
    g_assert_cmpuint(hist->boundaries[0], ==, 777);
    g_assert_cmpuint(hist->bins[0], ==, 1);
    g_assert_cmpuint(hist->bins[1], ==, 2);
    qemu_mutex_unlock(&stats->lock);

    block_latency_histograms_clear(stats);
    account(stats, BLOCK_ACCT_READ, 776, false);
    g_assert_null(hist->bins);
    g_assert_false(stats->queues.detailed);
    stats_free(stats);
}

int main(int argc, char **argv)
{
    qemu_init_main_loop(&error_abort);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/accounting-queues/sums", test_sums);
    g_test_add_func("/accounting-queues/detailed_sums", test_detailed_sums);
    g_test_add_func("/accounting-queues/reconfigured", test_reconfigured);
    g_test_add_func("/accounting-queues/intervals_as_one", test_intervals_as_one);
    g_test_add_func("/accounting-queues/idle_time", test_idle_time);
    g_test_add_func("/accounting-queues/boundaries", test_boundaries);
    return g_test_run();
}
