/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host's side of an IOThread's place: the kernel's CPU mask of its thread,
 * the host's NUMA nodes, and the memory policy of the thread.
 *
 * Each setter does all that it says or nothing, and its error names the option
 * that asked for it.
 * Called from the main loop with the BQL held, while the thread runs.
 */

#ifndef UTIL_IOTHREAD_AFFINITY_H
#define UTIL_IOTHREAD_AFFINITY_H

#include "system/iothread.h"

/* util/iothread-cpus.c */

/* The CPUs that the thread may run on; fails when the host does not tell. */
bool iothread_get_cpus(IOThread *iothread, IOThreadSet *cpus, Error **errp);

/* For cpu-affinity: fails unless the process may use each of @cpus. */
bool iothread_set_cpus(IOThread *iothread, const IOThreadSet *cpus,
                       Error **errp);

/* For node-affinity: those of @cpus that the process may use; one is enough. */
bool iothread_set_node_cpus(IOThread *iothread, const IOThreadSet *cpus,
                            Error **errp);

/* Puts the thread back to where iothread_get_cpus() found it. */
void iothread_restore_cpus(IOThread *iothread, const IOThreadSet *cpus);

/* util/iothread-nodes.c */

/* Fails unless each node is there and has memory that the process may use. */
bool iothread_check_nodes(IOThread *iothread, const IOThreadSet *nodes,
                          Error **errp);

/* The CPUs of nodes that were checked; fails when they have none. */
bool iothread_get_node_cpus(IOThread *iothread, const IOThreadSet *nodes,
                            IOThreadSet *cpus, Error **errp);

/*
 * From here on the thread gets memory of these nodes, which were checked, for as
 * long as they have any.  What it has stays where it is.
 */
bool iothread_prefer_nodes(IOThread *iothread, const IOThreadSet *nodes,
                           Error **errp);

#endif /* UTIL_IOTHREAD_AFFINITY_H */
