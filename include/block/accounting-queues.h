/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * I/O accounting per queue: what requests count in a BlockAcctStats, and what
 * query-blockstats makes of it.  The functions that devices call are those of
 * block/accounting.h; block/accounting.c is ours.
 *
 * The objects: a BlockAcctStats has what is configured (which requests to
 * account, the boundaries of histograms, the intervals) and a slot for each
 * queue, in which that queue's thread counts.  The other fields of a
 * BlockAcctStats (counters, bins, latencies of the intervals) are sums over the
 * slots, made by block_acct_collect(), and as old as its last call.
 *
 * Who writes a slot: its home thread, without a lock, in a section of the slot's
 * sequence; while there are histograms or intervals, and at home 0, in a section
 * of the slot's lock too.  Nobody else takes that lock but readers and who
 * configures, for a moment.
 *
 * Who reads: block_acct_collect(), holding a slot's lock, which keeps out all
 * writers but the lockless one; for that one it reads the counters of a type
 * again if the sequence has moved.  So each queue's counters of a type fit
 * together (bytes, requests, time), and, where there are histograms or intervals
 * all along, those fit to the counters.  Different queues are read at different
 * moments.
 *
 * Who configures holds the locks of all slots; a configuration may be read in
 * any one of them.  Order of locks: BlockAcctStats.lock, slots.lock, the slots'
 * in the order of homes.
 */

#ifndef BLOCK_ACCOUNTING_QUEUES_H
#define BLOCK_ACCOUNTING_QUEUES_H

#include "block/queue-slots.h"

struct BlockAcctStats;

/* In a BlockAcctStats; read by each request. */
typedef struct BlockAcctQueues {
    QueueSlots slots;
    bool detailed;          /* atomic: there are histograms or intervals */

    /* the configuration, as BlockAcctStats.intervals is */
    unsigned n_intervals;
} BlockAcctQueues;

/*
 * Brings the counters, bins and interval latencies of @stats up to now.  With
 * @stats->lock held, as they are read.  Any thread.
 */
void block_acct_collect(struct BlockAcctStats *stats);

#endif /* BLOCK_ACCOUNTING_QUEUES_H */
