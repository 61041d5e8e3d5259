/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A driver at the end of a fast path, for tests: a disk in memory that answers
 * fast requests from a bottom half, at once, or not at all until told, and that
 * takes its time for ordinary ones.  One node of it at a time.
 */

#ifndef TESTS_UNIT_FAST_LEAF_H
#define TESTS_UNIT_FAST_LEAF_H

#include "block/block_int.h"

#define FAST_LEAF_SIZE  (4 * MiB)
#define FAST_LEAF_ALIGN 4096

typedef enum FastLeafMode {
    FAST_LEAF_AT_ONCE,
    FAST_LEAF_BOTTOM_HALF,
    FAST_LEAF_HOLD,         /* until fast_leaf_release() in the submitting thread */
    FAST_LEAF_RETRY,        /* "could not finish it": blk_fast_retry() */
    FAST_LEAF_MIXED,        /* the first, second and fourth in turn */
} FastLeafMode;

typedef struct FastLeaf {
    uint8_t *data;
    int64_t length;             /* atomic */
    FastLeafMode mode;          /* atomic */
    int result;                 /* of fast requests, if not 0 */
    bool quiet;                 /* atomic; a fast request is a failure now */
    unsigned in_flight;         /* atomic: fast requests */
    unsigned fast;              /* atomic: fast requests, ever */
    unsigned ordinary;          /* atomic: reads and writes, ever */
    unsigned flushes;           /* atomic: ordinary ones that reached the driver */
    BdrvRequestFlags last_flags;
    BlkFastRequest *held;
} FastLeaf;

extern FastLeaf fast_leaf;

/* Registers the driver "fast-leaf"; once, after bdrv_init(). */
void fast_leaf_register(void);

/* A BlockBackend for the graph of @json, resolved. */
BlockBackend *fast_leaf_open(const char *json);

/* Runs the main loop until it has nothing to do: paths are resolved then. */
void fast_leaf_settle(void);

/* Completes the request that is held, with @ret, or gives it back. */
void fast_leaf_release(int ret);
void fast_leaf_retry(void);

#endif /* TESTS_UNIT_FAST_LEAF_H */
