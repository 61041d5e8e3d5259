/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * I/O accounting per queue; in the place of the base's file of this name.
 * How it works: block/accounting-queues.h.
 */

#include "qemu/osdep.h"
#include "block/accounting.h"
#include "block/block_int.h"
#include "qemu/lockable.h"
#include "qemu/memalign.h"
#include "qemu/seqlock.h"
#include "qemu/timer.h"
#include "system/qtest.h"

/* What each request is said to take under qtest, whose clock stands still. */
#define QTEST_LATENCY_NS SCALE_MS

/* One queue's requests of one type. */
typedef struct BlockAcctCounts {
    uint64_t ops;
    uint64_t bytes;
    uint64_t total_time_ns;
    uint64_t failed_ops;
    uint64_t invalid_ops;
    uint64_t merged;
} BlockAcctCounts;

typedef struct QEMU_ALIGNED(QUEUE_SLOT_ALIGN) BlockAcctQueue {
    QueueSlot slot;

    /* see the header for who writes and reads; values are atomic */
    QemuSeqLock sequence;
    int64_t last_access_time_ns;
    BlockAcctCounts counts[BLOCK_MAX_IOTYPE];

    /* protects the rest, which is made when first needed */
    QemuMutex lock;
    uint64_t *bins[BLOCK_MAX_IOTYPE];
    TimedAverage (*latency)[BLOCK_MAX_IOTYPE];  /* by BlockAcctInterval.index */
    unsigned n_intervals;                       /* in @latency */
} BlockAcctQueue;

QEMU_BUILD_BUG_MSG(sizeof(BlockAcctQueue) % QUEUE_SLOT_ALIGN,
                   "two queues' counters would share a cache line");
QEMU_BUILD_BUG_MSG(offsetof(BlockAcctQueue, counts[BLOCK_ACCT_READ]) +
                   sizeof(BlockAcctCounts) > QUEUE_SLOT_ALIGN,
                   "a read would be counted in more than one pair of lines");

/* What block_acct_add_interval() makes. */
typedef struct BlockAcctInterval {
    BlockAcctTimedStats sum;    /* first, see interval_of() */

    /* constant */
    unsigned index;             /* in the order of being added */
    TimedAverage start;         /* empty; when windows begin, for all queues */
} BlockAcctInterval;

static QEMUClockType clock_type = QEMU_CLOCK_REALTIME;

static BlockAcctInterval *interval_of(BlockAcctTimedStats *sum)
{
    return container_of(sum, BlockAcctInterval, sum);
}

/* Memory for one queue's thread alone. */
static void *queue_alloc(size_t size)
{
    size = ROUND_UP(size, QUEUE_SLOT_ALIGN);
    return memset(qemu_memalign(QUEUE_SLOT_ALIGN, size), 0, size);
}

static void block_acct_queue_init(QueueSlot *slot)
{
    BlockAcctQueue *q = (BlockAcctQueue *)slot;

    seqlock_init(&q->sequence);
    qemu_mutex_init(&q->lock);
}

static void block_acct_queue_cleanup(QueueSlot *slot)
{
    BlockAcctQueue *q = (BlockAcctQueue *)slot;
    int type;

    for (type = 0; type < BLOCK_MAX_IOTYPE; type++) {
        qemu_vfree(q->bins[type]);
    }
    qemu_vfree(q->latency);
    qemu_mutex_destroy(&q->lock);
}

void block_acct_init(BlockAcctStats *stats)
{
    if (qtest_enabled()) {
        clock_type = QEMU_CLOCK_VIRTUAL;
    }
    qemu_mutex_init(&stats->lock);
    queue_slots_init(&stats->queues.slots, sizeof(BlockAcctQueue),
                     block_acct_queue_init);
    stats->account_invalid = true;
    stats->account_failed = true;
}

static void set_unless_auto(bool *flag, OnOffAuto value)
{
    if (value != ON_OFF_AUTO_AUTO) {
        *flag = value == ON_OFF_AUTO_ON;
    }
}

void block_acct_setup(BlockAcctStats *stats, enum OnOffAuto account_invalid,
                      enum OnOffAuto account_failed)
{
    set_unless_auto(&stats->account_invalid, account_invalid);
    set_unless_auto(&stats->account_failed, account_failed);
}

void block_acct_cleanup(BlockAcctStats *stats)
{
    BlockAcctTimedStats *s;

    block_latency_histograms_clear(stats);
    queue_slots_destroy(&stats->queues.slots, block_acct_queue_cleanup);
    while ((s = QSLIST_FIRST(&stats->intervals))) {
        QSLIST_REMOVE_HEAD(&stats->intervals, entries);
        g_free(interval_of(s));
    }
    qemu_mutex_destroy(&stats->lock);
}

/* A change of configuration: no queue is accounting details, or being added. */
static void block_acct_config_begin(BlockAcctStats *stats)
{
    BlockAcctQueue *q;
    unsigned home;

    qemu_mutex_lock(&stats->lock);
    qemu_mutex_lock(&stats->queues.slots.lock);
    QUEUE_SLOTS_FOREACH(q, &stats->queues.slots, home) {
        qemu_mutex_lock(&q->lock);
    }
}

/*
 * The change ends.  @detailed needs no order: whoever sees it set takes a lock
 * that is released here, and finds what is configured then.
 */
static void block_acct_config_end(BlockAcctStats *stats)
{
    bool detailed = stats->queues.n_intervals > 0;
    BlockAcctQueue *q;
    unsigned home;
    int type;

    for (type = 0; type < BLOCK_MAX_IOTYPE; type++) {
        detailed |= stats->latency_histogram[type].bins != NULL;
    }
    qatomic_set(&stats->queues.detailed, detailed);

    QUEUE_SLOTS_FOREACH(q, &stats->queues.slots, home) {
        qemu_mutex_unlock(&q->lock);
    }
    qemu_mutex_unlock(&stats->queues.slots.lock);
    qemu_mutex_unlock(&stats->lock);
}

void block_acct_add_interval(BlockAcctStats *stats, unsigned interval_length)
{
    BlockAcctInterval *interval = g_new0(BlockAcctInterval, 1);
    int type;

    timed_average_init(&interval->start, clock_type,
                       interval_length * (uint64_t)NANOSECONDS_PER_SECOND);
    interval->sum.stats = stats;
    interval->sum.interval_length = interval_length;
    for (type = 0; type < BLOCK_MAX_IOTYPE; type++) {
        interval->sum.latency[type] = interval->start;
    }

    block_acct_config_begin(stats);
    interval->index = stats->queues.n_intervals++;
    QSLIST_INSERT_HEAD(&stats->intervals, &interval->sum, entries);
    block_acct_config_end(stats);
}

BlockAcctTimedStats *block_acct_interval_next(BlockAcctStats *stats,
                                              BlockAcctTimedStats *s)
{
    return s ? QSLIST_NEXT(s, entries) : QSLIST_FIRST(&stats->intervals);
}

/* The number of @list's values, which must ascend from above 0, or -EINVAL. */
static int boundaries_count(uint64List *list)
{
    uint64_t prev = 0;
    int n = 0;

    for (; list; list = list->next, n++) {
        if (list->value <= prev) {
            return -EINVAL;
        }
        prev = list->value;
    }
    return n > 0 ? n : -EINVAL;
}

/* In a change of configuration. */
static void histogram_drop(BlockAcctStats *stats, enum BlockAcctType type)
{
    BlockLatencyHistogram *hist = &stats->latency_histogram[type];
    BlockAcctQueue *q;
    unsigned home;

    g_free(hist->boundaries);
    g_free(hist->bins);
    *hist = (BlockLatencyHistogram) {};
    QUEUE_SLOTS_FOREACH(q, &stats->queues.slots, home) {
        qemu_vfree(q->bins[type]);
        q->bins[type] = NULL;
    }
}

int block_latency_histogram_set(BlockAcctStats *stats, enum BlockAcctType type,
                                uint64List *boundaries)
{
    BlockLatencyHistogram *hist = &stats->latency_histogram[type];
    int n = boundaries_count(boundaries);
    int i;

    if (n < 0) {
        return n;
    }
    block_acct_config_begin(stats);
    histogram_drop(stats, type);
    hist->nbins = n + 1;
    hist->bins = g_new0(uint64_t, n + 1);
    hist->boundaries = g_new(uint64_t, n);
    for (i = 0; i < n; i++, boundaries = boundaries->next) {
        hist->boundaries[i] = boundaries->value;
    }
    block_acct_config_end(stats);
    return 0;
}

void block_latency_histograms_clear(BlockAcctStats *stats)
{
    int type;

    block_acct_config_begin(stats);
    for (type = 0; type < BLOCK_MAX_IOTYPE; type++) {
        histogram_drop(stats, type);
    }
    block_acct_config_end(stats);
}

/*
 * The calling thread's queue, to be written until queue_write_end().
 * Cost: queue_slot(), a load of a shared line that is written rarely, a store.
 */
static inline BlockAcctQueue *queue_write_begin(BlockAcctStats *stats,
                                                bool *locked)
{
    BlockAcctQueue *q = (BlockAcctQueue *)queue_slot(&stats->queues.slots);

    *locked = q->slot.shared || qatomic_read(&stats->queues.detailed);
    if (unlikely(*locked)) {
        qemu_mutex_lock(&q->lock);
    }
    seqlock_write_begin(&q->sequence);
    return q;
}

static inline void queue_write_end(BlockAcctQueue *q, bool locked)
{
    seqlock_write_end(&q->sequence);
    if (unlikely(locked)) {
        qemu_mutex_unlock(&q->lock);
    }
}

/* To a counter that the calling thread alone writes now; others may read it. */
static inline void count(uint64_t *counter, uint64_t n)
{
    qatomic_set_u64(counter, qatomic_read_u64(counter) + n);
}

void block_acct_start(BlockAcctStats *stats, BlockAcctCookie *cookie,
                      int64_t bytes, enum BlockAcctType type)
{
    assert(type < BLOCK_MAX_IOTYPE);

    *cookie = (BlockAcctCookie) {
        .bytes = bytes,
        .start_time_ns = qemu_clock_get_ns(clock_type),
        .type = type,
    };
}

/* The bin of @latency_ns: the number of boundaries that are not above it. */
static int histogram_bin(const BlockLatencyHistogram *hist, uint64_t latency_ns)
{
    int low = 0, high = hist->nbins - 1;

    while (low < high) {
        int mid = (low + high) / 2;

        if (hist->boundaries[mid] <= latency_ns) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* With the queue's lock held. */
static void queue_account_histogram(BlockAcctStats *stats, BlockAcctQueue *q,
                                    enum BlockAcctType type,
                                    int64_t latency_ns)
{
    const BlockLatencyHistogram *hist = &stats->latency_histogram[type];

    if (hist->nbins == 0) {
        return;
    }
    if (!q->bins[type]) {
        q->bins[type] = queue_alloc(hist->nbins * sizeof(uint64_t));
    }
    q->bins[type][histogram_bin(hist, latency_ns)]++;
}

/* With the queue's lock held: intervals were added since it had its last. */
static void __attribute__((cold))
queue_add_intervals(BlockAcctStats *stats, BlockAcctQueue *q)
{
    unsigned n = stats->queues.n_intervals;
    TimedAverage (*latency)[BLOCK_MAX_IOTYPE];
    BlockAcctTimedStats *s;
    int type;

    latency = queue_alloc(n * sizeof(*latency));
    if (q->latency) {
        memcpy(latency, q->latency, q->n_intervals * sizeof(*latency));
    }
    QSLIST_FOREACH(s, &stats->intervals, entries) {
        BlockAcctInterval *interval = interval_of(s);

        if (interval->index < q->n_intervals) {
            continue;
        }
        for (type = 0; type < BLOCK_MAX_IOTYPE; type++) {
            latency[interval->index][type] = interval->start;
        }
    }
    qemu_vfree(q->latency);
    q->latency = latency;
    q->n_intervals = n;
}

/* With the queue's lock held. */
static void queue_account_intervals(BlockAcctStats *stats, BlockAcctQueue *q,
                                    enum BlockAcctType type,
                                    int64_t latency_ns)
{
    unsigned i;

    if (unlikely(q->n_intervals < stats->queues.n_intervals)) {
        queue_add_intervals(stats, q);
    }
    for (i = 0; i < q->n_intervals; i++) {
        timed_average_account(&q->latency[i][type], latency_ns);
    }
}

/*
 * A request ends.  Cost without histograms and intervals: the clock, a section
 * of the queue, and three loads and four stores in it.
 */
static void block_acct_end(BlockAcctStats *stats, BlockAcctCookie *cookie,
                           bool failed)
{
    int64_t now = qemu_clock_get_ns(clock_type);
    int64_t latency_ns = qtest_enabled() ? QTEST_LATENCY_NS
                                         : now - cookie->start_time_ns;
    enum BlockAcctType type = cookie->type;
    bool timed = !failed || stats->account_failed;
    BlockAcctCounts *counts;
    BlockAcctQueue *q;
    bool locked;

    assert(type < BLOCK_MAX_IOTYPE);
    if (type == BLOCK_ACCT_NONE) {
        return;
    }
    cookie->type = BLOCK_ACCT_NONE;

    q = queue_write_begin(stats, &locked);
    counts = &q->counts[type];
    if (failed) {
        count(&counts->failed_ops, 1);
    } else {
        count(&counts->ops, 1);
        count(&counts->bytes, cookie->bytes);
    }
    if (timed) {
        count(&counts->total_time_ns, latency_ns);
        qatomic_set_i64(&q->last_access_time_ns, now);
    }
    if (unlikely(locked)) {
        queue_account_histogram(stats, q, type, latency_ns);
        if (timed) {
            queue_account_intervals(stats, q, type, latency_ns);
        }
    }
    queue_write_end(q, locked);
}

void block_acct_done(BlockAcctStats *stats, BlockAcctCookie *cookie)
{
    block_acct_end(stats, cookie, false);
}

void block_acct_failed(BlockAcctStats *stats, BlockAcctCookie *cookie)
{
    block_acct_end(stats, cookie, true);
}

/* Found invalid when it was submitted: it took no time. */
void block_acct_invalid(BlockAcctStats *stats, enum BlockAcctType type)
{
    BlockAcctQueue *q;
    bool locked;

    assert(type < BLOCK_MAX_IOTYPE);

    q = queue_write_begin(stats, &locked);
    count(&q->counts[type].invalid_ops, 1);
    if (stats->account_invalid) {
        qatomic_set_i64(&q->last_access_time_ns, qemu_clock_get_ns(clock_type));
    }
    queue_write_end(q, locked);
}

void block_acct_merge_done(BlockAcctStats *stats, enum BlockAcctType type,
                           int num_requests)
{
    BlockAcctQueue *q;
    bool locked;

    assert(type < BLOCK_MAX_IOTYPE);

    q = queue_write_begin(stats, &locked);
    count(&q->counts[type].merged, num_requests);
    queue_write_end(q, locked);
}

/*
 * Of one moment.  With the queue's lock held: no other writes than the lockless
 * writer, whose sections are short.
 */
static BlockAcctCounts queue_read_counts(BlockAcctQueue *q, int type)
{
    const BlockAcctCounts *from = &q->counts[type];
    BlockAcctCounts counts;
    unsigned start;

    do {
        start = seqlock_read_begin(&q->sequence);
        counts = (BlockAcctCounts) {
            .ops = qatomic_read_u64(&from->ops),
            .bytes = qatomic_read_u64(&from->bytes),
            .total_time_ns = qatomic_read_u64(&from->total_time_ns),
            .failed_ops = qatomic_read_u64(&from->failed_ops),
            .invalid_ops = qatomic_read_u64(&from->invalid_ops),
            .merged = qatomic_read_u64(&from->merged),
        };
    } while (seqlock_read_retry(&q->sequence, start));
    return counts;
}

static void collect_counts(BlockAcctStats *stats, BlockAcctQueue *q, int type)
{
    BlockAcctCounts counts = queue_read_counts(q, type);

    stats->nr_ops[type] += counts.ops;
    stats->nr_bytes[type] += counts.bytes;
    stats->total_time_ns[type] += counts.total_time_ns;
    stats->failed_ops[type] += counts.failed_ops;
    stats->invalid_ops[type] += counts.invalid_ops;
    stats->merged[type] += counts.merged;
}

static void collect_histogram(BlockAcctStats *stats, BlockAcctQueue *q,
                              int type)
{
    BlockLatencyHistogram *hist = &stats->latency_histogram[type];
    int i;

    if (!q->bins[type]) {
        return;
    }
    for (i = 0; i < hist->nbins; i++) {
        hist->bins[i] += q->bins[type][i];
    }
}

/*
 * The windows of all queues began together and are one period long, so that
 * their ends differ by whole periods.  The one that ends later began no earlier
 * than the other ended, whose values are too old; windows that end together are
 * one.
 */
static void collect_window(TimedAverageWindow *sum, const TimedAverageWindow *w)
{
    if (w->expiration > sum->expiration) {
        *sum = *w;
    } else if (w->expiration == sum->expiration) {
        sum->min = MIN(sum->min, w->min);
        sum->max = MAX(sum->max, w->max);
        sum->sum += w->sum;
        sum->count += w->count;
    }
}

static void collect_intervals(BlockAcctStats *stats, BlockAcctQueue *q,
                              int type)
{
    BlockAcctTimedStats *s;
    unsigned index;

    QSLIST_FOREACH(s, &stats->intervals, entries) {
        index = interval_of(s)->index;
        if (index < q->n_intervals) {
            TimedAverage *latency = &q->latency[index][type];

            collect_window(&s->latency[type].windows[0], &latency->windows[0]);
            collect_window(&s->latency[type].windows[1], &latency->windows[1]);
        }
    }
}

static void collect_nothing(BlockAcctStats *stats, int type)
{
    BlockLatencyHistogram *hist = &stats->latency_histogram[type];
    BlockAcctTimedStats *s;

    stats->nr_ops[type] = 0;
    stats->nr_bytes[type] = 0;
    stats->total_time_ns[type] = 0;
    stats->failed_ops[type] = 0;
    stats->invalid_ops[type] = 0;
    stats->merged[type] = 0;
    if (hist->bins) {
        memset(hist->bins, 0, hist->nbins * sizeof(hist->bins[0]));
    }
    QSLIST_FOREACH(s, &stats->intervals, entries) {
        s->latency[type] = interval_of(s)->start;
    }
}

static int64_t last_access_time_ns(BlockAcctStats *stats)
{
    int64_t last = 0;
    BlockAcctQueue *q;
    unsigned home;

    QUEUE_SLOTS_FOREACH(q, &stats->queues.slots, home) {
        last = MAX(last, qatomic_read_i64(&q->last_access_time_ns));
    }
    return last;
}

void block_acct_collect(BlockAcctStats *stats)
{
    BlockAcctQueue *q;
    unsigned home;
    int type;

    for (type = 0; type < BLOCK_MAX_IOTYPE; type++) {
        collect_nothing(stats, type);
    }
    QUEUE_SLOTS_FOREACH(q, &stats->queues.slots, home) {
        QEMU_LOCK_GUARD(&q->lock);
        for (type = 0; type < BLOCK_MAX_IOTYPE; type++) {
            collect_counts(stats, q, type);
            collect_histogram(stats, q, type);
            collect_intervals(stats, q, type);
        }
    }
    stats->last_access_time_ns = last_access_time_ns(stats);
}

int64_t block_acct_idle_time_ns(BlockAcctStats *stats)
{
    /* the clock last: the time is not negative */
    int64_t last = last_access_time_ns(stats);

    return qemu_clock_get_ns(clock_type) - last;
}

/* The time that requests took, over the time that passed, is their number. */
double block_acct_queue_depth(BlockAcctTimedStats *s, enum BlockAcctType type)
{
    uint64_t sum, elapsed;

    assert(type < BLOCK_MAX_IOTYPE);
    assert(qemu_mutex_trylock(&s->stats->lock) == -EBUSY);

    sum = timed_average_sum(&s->latency[type], &elapsed);
    return (double)sum / elapsed;
}
