/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For tests of the fast path's file leaves, on real files: in the current folder, which
 * should be a disk, and in /dev/shm.
 */

#ifndef TESTS_UNIT_FAST_FILE_WORLD_H
#define TESTS_UNIT_FAST_FILE_WORLD_H

#include "block/fast-path.h"
#include "tests/unit/iothread.h"
#include "qemu/iov.h"
#include "qemu/units.h"
#include "system/block-backend.h"

#define FILE_SIZE (8 * MiB)
#define BLOCK 4096
#define MAX_REQUESTS 1024
#define MAX_IOV 8

/* A file in a BlockBackend, and IOThreads */

typedef struct Where {
    const char *dir;
    const char *aio;
    bool direct;
    bool polled;
    int64_t poll_ns;            /* of the IOThreads */
} Where;

/* Where test_everywhere() tries; the first is a disk, with a ring. */
extern const Where wheres[];

typedef struct World {
    const Where *where;
    char *path;
    BlockBackend *blk;
    BlkFast *fast;
    IOThread *thread[2];
} World;

bool uses_ring(World *w);
void world_new(World *w, const Where *where);
void world_free(World *w);

/* Of w->path, in a new BlockBackend. */
void world_open(World *w);

void wait_resolved(World *w);

/* Requests so far. */
uint64_t fast_ops(World *w, BlkFastOp op);
uint64_t ordinary_ops(World *w, BlkFastOp op);

/* Runs in a thread, which the main loop waits for */

typedef struct Call {
    void (*fn)(void *opaque);
    void *opaque;
    bool done;
} Call;

void run_in(World *w, int thread, void (*fn)(void *), void *opaque);

/* Requests: submitted as one batch, by the thread that calls */

typedef struct Request {
    BlkFastRequest fast;
    QEMUIOVector qiov;
    struct iovec iov[MAX_IOV];
    int ret;
    int done;                   /* how often */
    struct Batch *batch;
} Request;

typedef struct Batch {
    World *w;
    BlkFastOp op;
    BdrvRequestFlags flags;
    int64_t offset;
    int bytes;                  /* of each */
    int n;
    int n_iov;
    size_t misalign;            /* of the buffers */
    uint8_t *buf;
    Request *req;
    int left;
} Batch;

void batch_init(Batch *b);
void batch_free(Batch *b);
void request_init(Batch *b, int i);
void batch_submit(Batch *b);

/* A Batch: submits it, and runs the thread's event loop until all is done. */
void batch_run(void *opaque);

/* ... in that IOThread */
void batch_in(int thread, Batch *b);

/* The pattern of each byte tells its offset in blocks, and the writer. */
void fill(Batch *b, uint8_t seed);
void verify(Batch *b, uint8_t seed, size_t bytes);
void all_are(Batch *b, int ret);

/* Writes @n times @n_iov blocks at @offset and reads them back, in @thread. */
void write_and_verify(World *w, int thread, int64_t offset, int n, int n_iov,
                      uint8_t seed);

/* Two threads at a time */

typedef struct Rounds {
    Batch b;
    int rounds;
    uint8_t seed;
} Rounds;

typedef struct Load {
    Rounds rounds[2];
    Call call[2];
} Load;

void load_start(Load *load, World *w);
void load_finish(Load *load);

/* Each test in each place */

typedef void Test(World *w);

void test_everywhere(const char *name, Test *test);
#define ADD(test) test_everywhere(#test, test)

void fast_file_init(int *argc, char ***argv);

#endif /* TESTS_UNIT_FAST_FILE_WORLD_H */
