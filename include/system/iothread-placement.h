/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where an IOThread runs: its host CPUs, the host nodes whose memory it prefers,
 * and the name under which the host's tools show it.
 *
 * The properties cpu-affinity and node-affinity of -object iothread are kept in
 * IOThreadPlacement until the thread runs.  From then on the CPUs live in the
 * host's kernel: what a management program changes from outside is what
 * query-iothreads and qom-get show.  A thread's memory policy nobody can change
 * or read from outside, so that the nodes shown are those that were set.
 *
 * cpu-affinity, once given, tells the CPUs, in or out of the nodes; without it
 * node-affinity does.  Everything here is called from the main loop with the BQL
 * held.
 */

#ifndef SYSTEM_IOTHREAD_PLACEMENT_H
#define SYSTEM_IOTHREAD_PLACEMENT_H

#include "qapi/qapi-types-iothread.h"
#include "qom/object.h"

struct IOThread;

/* Host CPUs or host nodes; no bits for none. */
typedef struct IOThreadSet {
    unsigned long *bits;
    unsigned long nbits;
} IOThreadSet;

typedef struct IOThreadPlacement {
    /* private: what the properties were set to last */
    IOThreadSet cpus;
    IOThreadSet nodes;
    bool started;
} IOThreadPlacement;

/* Adds the properties of this file to TYPE_IOTHREAD. */
void iothread_placement_class_init(ObjectClass *klass);

/*
 * Names the thread, which must be running, and places it as the properties ask.
 * Fails when the host does not allow all of it.
 */
void iothread_placement_start(struct IOThread *iothread, Error **errp);

/* Frees what the properties hold; the thread must have ended. */
void iothread_placement_cleanup(struct IOThread *iothread);

/* Fills in the members of @info that tell where the thread runs. */
void iothread_placement_query(struct IOThread *iothread, IOThreadInfo *info);

/* Whether @cpu is in @list, ranges such as "0-3,8" as the host's kernel lists them. */
bool iothread_cpu_is_listed(unsigned long cpu, const char *list);

#endif /* SYSTEM_IOTHREAD_PLACEMENT_H */
