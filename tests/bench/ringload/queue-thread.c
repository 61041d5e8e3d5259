/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread of a queue: its phases, when to measure and when to stop, and how
 * to sleep until the server calls.
 */
#include "queue.h"
#include "options.h"
#include "queue-private.h"
#include "tsc.h"
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

/* How long a sleeping queue does not look at the control. */
#define SLEEP_MS 50

/*
 * How long a queue that polls keeps a CPU from others while nothing is
 * answered: on a host with fewer CPUs than threads that poll, the server would
 * have its turn only when the time slices of all the others are over.
 */
#define SPIN_SECONDS 100e-6

/*
 * When it no longer keeps it at all.  On Linux 6.18 threads that only yield keep the
 * kernel's workers from a CPU for seconds, and did so for minutes: those that end
 * writes to a disk, which then was what the queue waited for.
 */
#define YIELD_SECONDS 10e-3
#define NAP_US 1000

/* Takes the count of the call eventfd: how often the server signalled it. */
static void queue_count_interrupts(struct queue *q)
{
    uint64_t count;

    if (q->call_fd >= 0 &&
        read(q->call_fd, &count, sizeof(count)) == sizeof(count)) {
        q->stats.interrupts += count;
    }
}

/*
 * Waits for an interrupt, or a while: the control may have changed. What was
 * used in that while should come with an interrupt, within half the timeout of a
 * queue that makes no progress.
 */
static void queue_sleep(struct queue *q)
{
    struct pollfd pfd = { .fd = q->call_fd, .events = POLLIN };

    if (vring_arm_interrupt(&q->ring)) {
        if (poll(&pfd, 1, SLEEP_MS) == 0 && vring_used_count(&q->ring) &&
            poll(&pfd, 1, q->options->timeout * 500) == 0) {
            queue_fail(q, "request completed without the interrupt that was "
                       "asked for");
        }
        queue_count_interrupts(q);
    }
    vring_disarm_interrupt(&q->ring);
}

static void queue_start_measuring(struct queue *q)
{
    queue_count_interrupts(q);
    memset(&q->stats, 0, sizeof(q->stats));
    histogram_reset(&q->latency);
    q->stats.begin = tsc_now();
    q->recording = true;
}

static void queue_end_measuring(struct queue *q)
{
    if (q->recording) {
        queue_count_interrupts(q);
        q->stats.ticks = tsc_now() - q->stats.begin;
        q->result = q->stats;
        q->recording = false;
    }
}

/* The next deadline of the run: the warm-up is over, or the measurement. */
static void COLD queue_tick(struct queue *q)
{
    if (!q->recording) {
        queue_start_measuring(q);
        q->deadline = q->stats.begin + tsc_from_seconds(q->options->runtime);
    } else {
        queue_end_measuring(q);
        q->left = 0;
        q->deadline = UINT64_MAX;
    }
}

static void queue_begin_phase(struct queue *q)
{
    const struct options *o = q->options;

    q->cursor = 0;
    q->left = UINT64_MAX;
    q->deadline = UINT64_MAX;
    if (q->phase == PHASE_RUN) {
        if (o->requests) {
            q->left = o->requests;
            queue_start_measuring(q);
        } else if (o->warmup > 0) {
            q->deadline = tsc_now() + tsc_from_seconds(o->warmup);
        } else {
            queue_tick(q);
        }
    }
}

/* So many ticks nothing has been answered. */
static void queue_poll_in_vain(uint64_t ticks)
{
    if (ticks <= tsc_from_seconds(SPIN_SECONDS)) {
        cpu_pause();
    } else if (ticks <= tsc_from_seconds(YIELD_SECONDS)) {
        sched_yield();
    } else {
        usleep(NAP_US);
    }
}

/* Everything of one phase, until nothing is in flight. */
static void queue_run_phase(struct queue *q)
{
    uint64_t answered = tsc_now();

    queue_begin_phase(q);
    queue_fill(q);
    while (q->in_flight) {
        unsigned n = vring_used_count(&q->ring);
        int stop = atomic_get(&q->control->stop);
        uint64_t now = tsc_now();

        if (unlikely(stop)) {
            q->left = 0;
            if (stop == STOP_ABORT) {
                q->broken = true;
                break;
            }
        }
        if (n) {
            if (unlikely(n > q->in_flight)) {
                queue_fail(q, "the used index is %u ahead with %u requests "
                           "in flight", n, q->in_flight);
                q->broken = true;
                break;
            }
            if (!queue_pass(q, n, now)) {
                q->broken = true;
                break;
            }
            atomic_put(&q->progress, q->progress + 1);
            answered = now;
        } else if (q->options->sleep) {
            queue_sleep(q);
        } else {
            queue_poll_in_vain(now - answered);
        }
        if (unlikely(now >= q->deadline)) {
            queue_tick(q);
        }
    }
    queue_end_measuring(q);
}

static bool queue_wants_phase(const struct queue *q)
{
    const struct options *o = q->options;

    if (q->broken || atomic_get(&q->control->stop) == STOP_ABORT ||
        atomic_get(&q->control->exit_status)) {
        return false;
    }
    switch (q->phase) {
    case PHASE_PREFILL:
        return o->prefill && atomic_get(&q->control->stop) == STOP_NO;
    case PHASE_READ_BACK:
        return o->verify && o->writes && o->read_back &&
               atomic_get(&q->control->stop) == STOP_NO;
    default:
        return atomic_get(&q->control->stop) == STOP_NO;
    }
}

void *queue_thread(void *arg)
{
    struct queue *q = arg;
    int cpu = cpu_list_pick(&q->options->cpus, q->index);

    if (cpu >= 0) {
        pin_thread(cpu);
    }
    for (q->phase = PHASE_PREFILL; q->phase < PHASES; q->phase++) {
        pthread_barrier_wait(&q->control->phase);
        if (queue_wants_phase(q)) {
            atomic_put_release(&q->active, true);
            queue_run_phase(q);
            atomic_put_release(&q->active, false);
        }
    }
    return NULL;
}
