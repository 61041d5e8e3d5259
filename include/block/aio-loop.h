/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How an AioContext's event loop waits, and what it counts.
 *
 * Included by block/aio.h: every AioContext has an AioLoop in it.
 */

#ifndef BLOCK_AIO_LOOP_H
#define BLOCK_AIO_LOOP_H

typedef struct AioContext AioContext;
typedef struct AioRing AioRing;

typedef enum AioPollMode {
    /* polls for as long as it has been worth it of late, then sleeps */
    AIO_POLL_ADAPTIVE,
    /* never sleeps while there is anything to poll: a core of its own */
    AIO_POLL_BUSY,
    /* sleeps at once */
    AIO_POLL_OFF,
} AioPollMode;

/*
 * Since the AioContext was made.  Each is written by the home thread alone, with
 * plain stores, and read by anybody, with qatomic_read_u64().
 */
typedef struct AioLoopCounters {
    uint64_t polls_hit;         /* times polled, and something was there */
    uint64_t polls_vain;        /* ... and nothing was, when time was up */
    uint64_t sleeps;            /* waits in the kernel that could sleep */
    uint64_t syscalls;          /* made to wait and to submit: those and others */
    /* events, by kind */
    uint64_t polled;            /* a poll function said yes: a virtqueue, say */
    uint64_t descriptors;       /* file descriptors that were ready */
    uint64_t requests;          /* completions of the ring's requests */
    uint64_t bottom_halves;     /* turns in which some ran */
    uint64_t timers;            /* turns in which some ran */
} AioLoopCounters;

typedef struct AioLoop {
    AioPollMode mode;           /* atomic */
    AioRing *ring;              /* see block/aio-ring.h; NULL: there is none */

    /* handlers with a poll function; written with the AioContext's list_lock */
    unsigned poll_sources;
    bool begin_again;           /* atomic: handlers have got an io_poll_begin() */

    /* home thread */
    int64_t idle_check;         /* when handlers are next checked for idleness */
    unsigned unlooked;          /* turns that did not look at descriptors */
    AioLoopCounters counters;
} AioLoop;

/*
 * The calling thread has come to run @ctx, for as long as it lives.
 */
void aio_loop_enter(AioContext *ctx);

/*
 * What is called when @ctx begins and ends to poll the handler of @fd in place of
 * watching the descriptor; either may be NULL.  Else as aio_set_event_notifier_poll().
 */
void aio_set_fd_poll(AioContext *ctx, int fd, void (*io_poll_begin)(void *opaque),
                     void (*io_poll_end)(void *opaque));

/* Home thread. */
#define aio_loop_count(ctx, name) \
    aio_loop_count_many(ctx, name, 1)
#define aio_loop_count_many(ctx, name, n) \
    qatomic_set_u64(&(ctx)->loop.counters.name, (ctx)->loop.counters.name + (n))

/*
 * Changes how @ctx waits, from now on: wakes its thread to take note.  Any thread.
 */
void aio_context_set_poll_mode(AioContext *ctx, AioPollMode mode);

#endif /* BLOCK_AIO_LOOP_H */
