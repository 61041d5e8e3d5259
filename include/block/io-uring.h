/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the block layer keeps with an AioContext's ring (block/aio-ring.h), which
 * files use: coroutines by luring_co_submit() (include/block/raw-aio.h), fast
 * requests by luring_fast_submit().
 *
 * An IOThread's is the ring that its event loop waits in; another AioContext gets
 * one when the first request comes to it.
 *
 * When no entry of the submission queue is free and the kernel takes no more for
 * now, a request joins the waiting list of its way, which is taken from when
 * there are entries.
 *
 * Polled rings (IORING_SETUP_IOPOLL) are a second one of their AioContext, for
 * reads and writes of devices whose completions the kernel can look for, which it
 * does when the ring is entered, and which nothing else announces.  So while
 * requests are in flight a bottom half looks, and the AioContext does not sleep.
 *
 * Registered files.  A file has a number, the same in all rings (LuringFile), and
 * each ring registers it there when it first uses it.  The number has a
 * generation, which grows when the file behind it is closed or replaced; a ring
 * uses what it has registered only if it is of the current generation, and so
 * never uses another's.  See block/io_uring/files.c.
 */

#ifndef BLOCK_IO_URING_H
#define BLOCK_IO_URING_H

#include "block/aio-ring.h"
#include "block/fast-path.h"
#include "block/raw-aio.h"

/* Numbers of files, of which 0 is none; files without use their descriptor. */
#define LURING_FILES 64

/*
 * Requests that go down at once.  The kernel gives a drive none of a batch before it
 * has prepared all, at some microseconds each, and then answers come in batches too: a
 * virtual disk did 84 to 89 thousand requests a second at depth 32 with batches of any
 * length, 95 to 97 with these.
 */
#define LURING_BATCH 8

typedef struct LuringCo LuringCo;

struct LuringState {
    AioRing *ring;
    AioContext *ctx;

    /* no entry was free for them */
    QSIMPLEQ_HEAD(, LuringCo) co_waiting;
    QSIMPLEQ_HEAD(, BlkFastRequest) fast_waiting;

    /* by LuringFile.number: the generation that is registered, or 0 */
    unsigned file[LURING_FILES];
    bool files_fail;

    QEMUBH *bh;                 /* lets go of closed files; looks, if polled */
    LuringState *polled;        /* see luring_polled(), or NULL */
    bool iopoll;                /* this is one */
    QLIST_ENTRY(LuringState) next;
};

/* What entries of the completion queue belong to: the low bits of user_data. */
typedef enum LuringWay {
    LURING_CO = 1,              /* a LuringCo */
    LURING_FAST = 2,            /* a BlkFastRequest */
    LURING_WAY_MASK = 3,
} LuringWay;

/* A file descriptor to be registered.  Its owner's, zeroed. */
typedef struct LuringFile {
    int number;                 /* or 0 */
} LuringFile;

/* A request was put into an entry, or, with @waits, into a waiting list. */
static inline void luring_queued(LuringState *s, bool waits)
{
    aio_ring_queued(s->ring, waits);
    if (unlikely(io_uring_sq_ready(&s->ring->uring) >= LURING_BATCH) &&
        !s->ring->refused) {
        aio_ring_submit(s->ring);
    }
    if (unlikely(s->iopoll)) {
        qemu_bh_schedule(s->bh);
    }
}

/* The polled ring beside @s, made at first use; NULL if it cannot be. */
LuringState *luring_polled_new(LuringState *s) __attribute__((cold));

static inline LuringState *luring_polled(LuringState *s)
{
    return likely(s->polled) ? s->polled : luring_polled_new(s);
}

/* Whether requests of @fd, which has O_DIRECT, can be polled for. */
bool luring_probe_polled(int fd, Error **errp);

/* For block/io_uring/: what stands beside @ring, which is now its. */
LuringState *luring_new(AioRing *ring);

/* A polled ring's part of its bottom half, and of the end. */
void luring_polled_look(LuringState *s);
void luring_polled_free(LuringState *s);
void luring_bh(void *opaque);

/* The ways: fill entries from their waiting list; a completion is theirs. */
void luring_co_fill(LuringState *s);
void luring_co_done(LuringState *s, LuringCo *co, int res);
void luring_fast_fill(LuringState *s);
void luring_fast_done(LuringState *s, BlkFastRequest *req, int res);

/*
 * Submits @req, a read, write or flush, to @s, the ring of this thread's
 * AioContext, as BdrvFastSubmit does.
 */
int luring_fast_submit(LuringState *s, BlkFastRequest *req, int fd,
                       const LuringFile *file, int64_t offset);

/* Gives @file a number, if it has none and there is one.  Main loop. */
void luring_file_init(LuringFile *file);

/*
 * The descriptor that @file stands for is now another's, or will be closed: no
 * ring has it registered when this returns, unless its thread was held up.
 * Main loop.
 */
void luring_file_changed(LuringFile *file);

/* luring_file_changed(), and gives its number back. */
void luring_file_destroy(LuringFile *file);

/*
 * What to write into an entry for @file: true and its number, if it is registered
 * with @s now; else false.  Cost: two loads and a branch.
 */
bool luring_file_register(LuringState *s, int number, int fd)
    __attribute__((cold));
extern unsigned luring_file_generation[LURING_FILES];

static inline bool luring_file_use(LuringState *s, int number, int fd)
{
    return number != 0 && (likely(s->file[number] ==
                      qatomic_load_acquire(&luring_file_generation[number])) ||
           luring_file_register(s, number, fd));
}

/* Every ring, for files.c. */
void luring_files_attach(LuringState *s);
void luring_files_detach(LuringState *s);
void luring_files_sweep(LuringState *s);

#endif /* BLOCK_IO_URING_H */
