/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where an IOThread runs: its host CPUs, and the name under which the host's
 * tools show it.
 *
 * The property cpu-affinity of -object iothread is kept in IOThreadPlacement
 * until the thread runs, and then lives in the host's kernel alone: what a
 * management program changes from outside is what query-iothreads and qom-get
 * show.  Everything here is called from the main loop with the BQL held.
 */

#ifndef SYSTEM_IOTHREAD_PLACEMENT_H
#define SYSTEM_IOTHREAD_PLACEMENT_H

#include "qapi/qapi-types-iothread.h"
#include "qom/object.h"

struct IOThread;

typedef struct IOThreadPlacement {
    /* private: the CPUs asked for before the thread runs; NULL for any */
    unsigned long *cpus;
    unsigned long nbits;
    bool started;
} IOThreadPlacement;

/* Adds the properties of this file to TYPE_IOTHREAD. */
void iothread_placement_class_init(ObjectClass *klass);

/*
 * Names the thread, which must be running, and moves it to the CPUs asked for.
 * Fails when one of them does not exist, is offline or is not allowed for this
 * process; the thread then stays where it was.
 */
void iothread_placement_start(struct IOThread *iothread, Error **errp);

/* Frees what the properties hold; the thread must have ended. */
void iothread_placement_cleanup(struct IOThread *iothread);

/* Fills in the members of @info that tell where the thread runs. */
void iothread_placement_query(struct IOThread *iothread, IOThreadInfo *info);

#endif /* SYSTEM_IOTHREAD_PLACEMENT_H */
