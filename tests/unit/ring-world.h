/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests of event loops: a thread with an AioContext, of each kind there is, and
 * its system calls, counted and made to fail.  See mq_unit_wraps in meson.build.
 */

#ifndef TESTS_UNIT_RING_WORLD_H
#define TESTS_UNIT_RING_WORLD_H

#include "block/aio-ring.h"

typedef enum Kind {
    KIND_RING,
    KIND_ASIDE,                 /* a kernel without IORING_FEAT_NO_IOWAIT */
    KIND_EPOLL,
    KINDS,
} Kind;

/* Calls of the thread under test, unless said otherwise. */
extern struct World {
    Kind kind;
    int setup_error;            /* of rings, if not 0 */
    int refuse;                 /* how many calls with entries fail, still */
    int refuse_error;
    void (*before_enter)(void); /* called once, in the next call */

    int enters;                 /* atomic */
    int waits;                  /* ... that could sleep; atomic */
    int asides;                 /* waits with poll(); atomic */
    int asleep;                 /* in a wait now; atomic */
    unsigned flags;             /* of the last wait */
    int64_t timeout;            /* ... with poll() too; -1: none */
    int warnings;               /* of warn_report_once(), any thread */
} world;

static inline bool has_ring(AioContext *ctx)
{
    return ctx->loop.ring && ctx->loop.ring->loops;
}

#define poll_until(ctx, condition) \
    do {                           \
        while (!(condition)) {     \
            aio_poll(ctx, true);   \
        }                          \
    } while (0)

/* A descriptor that is ready when set, and its handler. */
typedef struct Source Source;
struct Source {
    AioContext *ctx;
    int fd;
    int called;
    bool leaves;                /* the handler leaves it set */
    void (*then)(Source *s);
    void *opaque;
};

void source_open(Source *s, AioContext *ctx);   /* the rest of it is kept */
void source_set(Source *s);
void source_clear(Source *s);
void source_remove(Source *s);                  /* does not close */
void source_close(Source *s);                   /* removes, too */
void source_read(void *opaque);                 /* its handler */

/* Requests of the ring that do nothing, or wait until a descriptor is readable. */
typedef struct Requests {
    int done;
    void (*then)(void *opaque);
    void *opaque;
} Requests;

void requests_init(Requests *r, AioContext *ctx);
void request_nop(AioContext *ctx);
void request_read(AioContext *ctx, int fd, uint64_t *value);

/* Runs @fn in a thread of its own and waits for it. */
void elsewhere(void (*fn)(void *opaque), void *opaque);

/* Calls @fn in another thread when this one is asleep. */
void when_asleep(void (*fn)(void *opaque), void *opaque);
void when_asleep_end(void);                     /* it has been called */

/*
 * A virtqueue: whoever adds to it kicks its descriptor, unless the event loop polls.
 * Lost events make the test hang, and a watchdog end it.
 */
typedef struct Queue {
    AioContext *ctx;
    int fd;
    unsigned avail, used;       /* atomic */
    int notify;                 /* atomic */
    unsigned kicks, begun, ended;
    void (*then)(void *opaque);
    void *opaque;
} Queue;

void queue_open(Queue *q, AioContext *ctx);
void queue_close(Queue *q);
void queue_add(Queue *q);
bool queue_poll(void *opaque);

static inline bool queue_is_empty(Queue *q)
{
    return qatomic_read(&q->avail) == qatomic_read(&q->used);
}

/* A test of a name is made for each of @kinds, a mask. */
typedef void Body(AioContext *ctx);
void world_add(const char *room, const char *name, Body *body, unsigned kinds);

#define WITH_RING (1 << KIND_RING | 1 << KIND_ASIDE)
#define WITH_ALL (WITH_RING | 1 << KIND_EPOLL)

/* The thread of a test also has a GSource, made before it; NULL outside tests. */
extern GMainContext *world_glib;

/* Body and ways of tests that make loops of their own. */
void world_run(Kind kind, Body *body);

#endif /* TESTS_UNIT_RING_WORLD_H */
