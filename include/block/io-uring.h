/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The io_uring of an AioContext, which files use: coroutines by luring_co_submit()
 * (include/block/raw-aio.h), fast requests by luring_fast_submit().
 *
 * A ring is made when the first request comes to its AioContext, and goes with it.
 *
 *     luring_get_sqe()        an entry of the submission queue, to be filled in
 *     luring_queued()         ... it is; goes down with the rest of the batch
 *     luring_submit()         one io_uring_enter for all that is queued
 *     luring_reap()           hands each completion to the way it belongs to
 *
 * A batch is a section of defer_call_begin() and defer_call_end().  When the
 * submission queue is full, luring_get_sqe() submits it first; when the kernel
 * takes no more for now, it returns NULL, and the request joins the waiting list
 * of its way, from which luring_submit() takes it.
 *
 * Threads.  A ring is used by its AioContext's home thread only.  An IOThread's
 * ring says so to the kernel (SINGLE_ISSUER), and that completion work needs no
 * interrupt of the thread: it is done when the thread enters the kernel
 * (COOP_TASKRUN), which a flag in memory asks for (TASKRUN_FLAG).  luring_ready()
 * looks at that flag too, and io_uring_peek_cqe() enters the kernel for it; a
 * thread that sleeps on the ring's descriptor is woken to do the work.
 *
 * The main loop's ring has none of it: any thread that holds the BQL acts as its
 * home, and completion work belongs to the thread that submitted.  That may be a
 * vCPU, which would do it when its guest next leaves.
 *
 * Not DEFER_TASKRUN: work that is so deferred does not wake who polls the ring's
 * descriptor (seen on Linux 6.18; poll() slept until its timeout), and an eventfd
 * for it costs a system call a wake-up more than the work that it saves.  It is
 * for a thread that sleeps in the ring itself.
 *
 * Polled rings (IORING_SETUP_IOPOLL) are a second one of their AioContext, for
 * reads and writes of devices whose completions the kernel can look for, which it
 * does when the ring is entered, and which nothing else announces.  So while
 * requests are in flight a bottom half looks, and the AioContext does not sleep.
 * Nor does it go into its own poll loop, here or later: that would look at no
 * other descriptor as long as a bottom half is due.
 *
 * Registered files.  A file has a number, the same in all rings (LuringFile), and
 * each ring registers it there when it first uses it.  The number has a
 * generation, which grows when the file behind it is closed or replaced; a ring
 * uses what it has registered only if it is of the current generation, and so
 * never uses another's.  See block/io_uring/files.c.
 */

#ifndef BLOCK_IO_URING_H
#define BLOCK_IO_URING_H

#include <liburing.h>
#include "block/aio.h"
#include "block/fast-path.h"
#include "block/raw-aio.h"

/* Numbers of files, of which 0 is none; files without use their descriptor. */
#define LURING_FILES 64

typedef struct LuringCo LuringCo;

struct LuringState {
    struct io_uring uring;
    AioContext *ctx;
    bool owned;                 /* by one thread, an IOThread */
    bool deferred;              /* owned, and luring_submit() will be called */
    bool refused;               /* the kernel took no more, last time */
    unsigned in_flight;         /* taken by the kernel and not reaped */

    /* no entry was free for them */
    QSIMPLEQ_HEAD(, LuringCo) co_waiting;
    QSIMPLEQ_HEAD(, BlkFastRequest) fast_waiting;

    /* by LuringFile.number: the generation that is registered, or 0 */
    unsigned file[LURING_FILES];
    bool files_fail;

    QEMUBH *bh;                 /* submits again, and lets go of closed files */
    LuringState *polled;        /* see luring_polled(), or NULL */
    bool iopoll;                /* this is one */
    QLIST_ENTRY(LuringState) next;
};

/* What entries of the completion queue belong to: the low bits of user_data. */
typedef enum LuringWay {
    LURING_CO,                  /* a LuringCo */
    LURING_FAST,                /* a BlkFastRequest */
    LURING_WAY_MASK = 3,
} LuringWay;

/* A file descriptor to be registered.  Its owner's, zeroed. */
typedef struct LuringFile {
    int number;                 /* or 0 */
} LuringFile;

/*
 * An entry of the submission queue, or NULL if none is free and the kernel takes
 * none: then the caller queues the request in its waiting list and calls
 * luring_queued() all the same.
 */
static inline struct io_uring_sqe *luring_get_sqe(LuringState *s);
struct io_uring_sqe *luring_get_sqe_full(LuringState *s) __attribute__((cold));

static inline struct io_uring_sqe *luring_get_sqe(LuringState *s)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&s->uring);

    return likely(sqe) ? sqe : luring_get_sqe_full(s);
}

/* A request was put into an entry, or into a waiting list. */
void luring_queued(LuringState *s);

/* All that is queued goes to the kernel.  Calls back no request. */
void luring_submit(LuringState *s);

/* Completes what is there.  Requests may be submitted meanwhile, and it may nest. */
void luring_reap(LuringState *s);

/* Whether luring_reap() would find something. */
static inline bool luring_ready(LuringState *s)
{
    return io_uring_cq_ready(&s->uring) ||
           (qatomic_read(s->uring.sq.kflags) &
            (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
}

/* The polled ring beside @s, made at first use; NULL if it cannot be. */
LuringState *luring_polled_new(LuringState *s) __attribute__((cold));

static inline LuringState *luring_polled(LuringState *s)
{
    return likely(s->polled) ? s->polled : luring_polled_new(s);
}

/* Whether requests of @fd, which has O_DIRECT, can be polled for. */
bool luring_probe_polled(int fd, Error **errp);

/* A polled ring's part of submitting, of its bottom half, and of the end. */
void luring_polled_submitted(LuringState *s);
void luring_polled_look(LuringState *s);
void luring_polled_free(LuringState *s);

/* For block/io_uring/: a ring with one of @flags, the first that can be. */
LuringState *luring_new(const unsigned *flags, int n_flags, Error **errp);
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
